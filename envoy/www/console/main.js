import { callApi, createIntent } from "./api.js";
import { createBasket } from "./basket.js";
import { closeDialogs, html } from "./dom.js";
import { followFeed } from "./feed.js";
import { icon } from "./icons.js";
import { Money } from "./money.js";
import { notify } from "./notices.js";
import { explain } from "./refusals.js";
import { accountsView } from "./views/accounts.js";
import { forgotPasswordView } from "./views/forgot-password.js";
import { ordersView } from "./views/orders.js";
import { payView } from "./views/pay.js";
import { profileView, verifyBanner } from "./views/profile.js";
import { shopView } from "./views/shop.js";
import { signInView } from "./views/sign-in.js";
import { signUpView } from "./views/sign-up.js";
import { statementView } from "./views/statement.js";

/**
 * What the views share.
 *
 * @typedef {object} App
 * @property {import("./session.js").Session | null} session
 * @property {object | null} user
 * @property {Money} money
 * @property {ReturnType<typeof createBasket>} basket
 * @property {Record<"account" | "order" | "payment", ReturnType<typeof createIntent>>} intents They
 *   outlive a view as the basket does: whoever comes back still means the same.
 * @property {(hash: string) => void} go Show another view.
 * @property {(session: import("./session.js").Session) => Promise<void>} signedIn
 * @property {() => Promise<void>} reload Read again what the shown view shows; what fails is said in it.
 * @property {() => Promise<void>} reloadUser
 *
 * A view is a function of the App and of what its address holds. It gives
 * `{title, node, load?, concerns?}`: `load` is awaited once the node is shown, and again after each
 * event of the feed that `concerns` it.
 */

const OUTSIDE = {
  "sign-in": signInView,
  "sign-up": signUpView,
  "forgot-password": forgotPasswordView,
};
const INSIDE = {
  accounts: (app, id) => (id ? statementView(app, id) : accountsView(app)),
  pay: payView,
  shop: shopView,
  orders: ordersView,
  profile: profileView,
};
const TABS = { accounts: "Accounts", pay: "Pay", shop: "Shop", orders: "Orders", profile: "Profile" };
const LIVE_WORDS = { connecting: "Connecting", live: "Live", paused: "Paused" };

const part = (id) => document.getElementById(id);
let shown = null;
let goal = "";

/** What somebody has begun here. */
const begun = () => ({
  basket: createBasket(),
  intents: { account: createIntent(), order: createIntent(), payment: createIntent() },
});

/** @type {App} */
const app = {
  session: null,
  user: null,
  money: null,
  ...begun(),
  go(hash) {
    if (location.hash === hash) {
      show();
    } else {
      location.hash = hash;
    }
  },
  async signedIn(session) {
    // Before any view reads anything, so that nothing falls between what it read and the feed.
    const { next_cursor: cursor } = await session.call("GET", "/v1/events", { query: { after_cursor: "now" } });
    const [{ user }, { currencies }] = await Promise.all([
      session.call("GET", "/v1/users/me"),
      callApi("GET", "/v1/currencies"),
    ]);
    Object.assign(app, { session, user, money: new Money(currencies) });
    session.onEnd = () => leave("Your session has ended. Sign in again.");
    renderFrame();
    followFeed({ session, cursor, onEvent, onState: showState });
    app.go(goal || "#/accounts");
    goal = "";
  },
  reload() {
    return load(shown);
  },
  async reloadUser() {
    app.user = (await app.session.call("GET", "/v1/users/me")).user;
    renderFrame();
  },
};

/** Back to the sign-in view, with nothing left of who was here. */
function leave(why) {
  closeDialogs();
  Object.assign(app, { session: null, user: null, ...begun() });
  renderFrame();
  app.go("#/sign-in");
  notify(why);
}

function onEvent(event) {
  if (/^user\./.test(event.type)) {
    app.reloadUser().catch(() => {});
  }
  if (shown?.concerns?.(event)) {
    load(shown);
  }
}

function showState(state) {
  part("live").dataset.state = state;
  part("live").firstElementChild.textContent = LIVE_WORDS[state];
}

/** All that stands around the view. */
function renderFrame() {
  const inside = Boolean(app.session);
  part("shell").dataset.inside = inside;
  part("whoami").hidden = !inside;
  part("tabs").hidden = !inside;
  part("name").textContent = app.user?.full_name ?? "";
  part("banner").replaceChildren(...(inside && !app.user.email_verified ? [verifyBanner(app)] : []));
}

/** Show the view that the address names. */
async function show() {
  const [name, id] = location.hash.replace(/^#\/?/, "").split("/");
  if (!app.session && !(name in OUTSIDE)) {
    goal = name in INSIDE ? location.hash : "";
    history.replaceState(null, "", "#/sign-in");
    return show();
  }
  if (app.session && !(name in INSIDE)) {
    history.replaceState(null, "", "#/accounts");
    return show();
  }
  closeDialogs();
  const first = shown === null;
  const view = (app.session ? INSIDE : OUTSIDE)[name](app, id && decodeURIComponent(id));
  shown = view;
  document.title = `${view.title} · Transactions`;
  markTab(name);
  part("main").replaceChildren(view.node);
  if (!first) {
    scrollTo(0, 0);
    part("main").querySelector("h1").focus({ preventScroll: true });
  }
  await load(view);
}

async function load(view) {
  view.node.setAttribute("aria-busy", "true");
  try {
    await view.load?.();
    view.loaded = true;
    clearProblem(view);
  } catch (error) {
    if (shown === view && app.session) {
      showProblem(view, view.loaded ? `${explain(error)} What is shown may be out of date.` : explain(error));
    }
  } finally {
    view.node.removeAttribute("aria-busy");
  }
}

/** Say below the heading that the view could not be read. */
function showProblem(view, text) {
  const problem = problemOf(view);
  if (problem) {
    problem.firstElementChild.textContent = text;
    return;
  }
  const retry = () => {
    clearProblem(view);
    view.node.querySelector("h1").focus();
    load(view);
  };
  const again = html("button", { type: "button", on: { click: retry } }, "Try again");
  const top = [...view.node.children].find((child) => child.matches("h1, :has(h1)"));
  top.after(html("div", { class: "problem", role: "alert" }, html("p", {}, text), again));
}

function problemOf(view) {
  return view.node.querySelector(":scope > .problem");
}

function clearProblem(view) {
  const problem = problemOf(view);
  if (problem?.contains(document.activeElement)) {
    view.node.querySelector("h1").focus();
  }
  problem?.remove();
}

function markTab(name) {
  for (const link of part("tabs").children) {
    if (link.dataset.name === name) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
}

part("tabs").append(
  ...Object.entries(TABS).map(([name, text]) =>
    html("a", { href: `#/${name}`, "data-name": name }, icon(name), html("span", {}, text)),
  ),
);
part("sign-out").addEventListener("click", () => {
  app.session.signOut();
  leave("You are signed out.");
});
part("skip").addEventListener("click", (event) => {
  event.preventDefault();
  part("main").focus();
});
addEventListener("hashchange", show);
renderFrame();
show();
