import { isSold } from "../basket.js";
import { coalesced, emptyState, heading, html, replaceKeepingFocus } from "../dom.js";
import { notify } from "../notices.js";
import { explain } from "../refusals.js";
import { basketPanel } from "./basket.js";

const PAGE_SIZE = 24;
const TYPING_MS = 250;

/**
 * What is sold, and the basket.
 *
 * @param {import("../main.js").App} app
 */
export function shopView(app) {
  const list = html("ul", { class: "cards products", "aria-label": "Products" });
  const found = html("p", { class: "unseen", role: "status" });
  const more = html("button", { type: "button", class: "secondary", hidden: true }, "Show more products");
  const search = html("input", {
    type: "search",
    id: "search",
    maxlength: 100,
    placeholder: "Search products",
    autocomplete: "off",
  });
  let listed = { words: "", products: [], pageToken: "" };

  const read = async (words, pageToken) => {
    const query = { query: words, page_size: PAGE_SIZE, page_token: pageToken };
    const answer = await app.session.call("GET", "/v1/products", { query });
    app.basket.refresh(answer.products);
    return answer;
  };
  const render = () => {
    const { words, products, pageToken } = listed;
    const empty = html(
      "li",
      { class: "card" },
      emptyState("Nothing found", words ? "Try other words." : "Nothing is on sale yet."),
    );
    replaceKeepingFocus(list, ...(products.length ? products.map((product) => cardOf(app, product, add)) : [empty]));
    more.hidden = !pageToken;
    panel.render();
  };
  const show = (next) => {
    listed = next;
    const count = listed.products.length;
    found.textContent = count === 1 ? "1 product" : `${count}${listed.pageToken ? " or more" : ""} products`;
    render();
  };
  const load = coalesced(async () => {
    const words = search.value.trim();
    const { products, next_page_token: pageToken } = await read(words, "");
    show({ words, products, pageToken });
    await panel.load();
  });
  const add = (product) => {
    if (!app.basket.takes(product)) {
      notify(
        "One order holds products of one seller and one currency. Order what is in the basket first, or empty it.",
        "bad",
      );
      return;
    }
    app.basket.set(product, app.basket.quantityOf(product.id) + 1);
    notify(`${product.name} is in the basket.`);
    render();
  };
  const replace = (fresh) => {
    const byId = new Map(fresh.map((product) => [product.id, product]));
    show({ ...listed, products: listed.products.map((each) => byId.get(each.id) ?? each).filter(isSold) });
  };
  const panel = basketPanel(app, { onChange: render, onLearned: replace });

  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => load().catch((error) => notify(explain(error), "bad")), TYPING_MS);
  });
  more.addEventListener("click", async () => {
    if (more.getAttribute("aria-disabled") === "true") {
      return;
    }
    more.setAttribute("aria-disabled", "true");
    const before = listed;
    try {
      const { products, next_page_token: pageToken } = await read(before.words, before.pageToken);
      // The page belongs to the list it was asked for, and to no other that was found meanwhile.
      if (listed === before) {
        show({ ...before, products: [...before.products, ...products], pageToken });
      }
    } catch (error) {
      notify(explain(error), "bad");
    } finally {
      more.removeAttribute("aria-disabled");
    }
  });
  const node = html(
    "div",
    {},
    html("div", { class: "headline" }, heading("Shop"), panel.link),
    html(
      "div",
      { class: "shop" },
      html(
        "div",
        {},
        html(
          "div",
          { class: "search", role: "search" },
          html("label", { for: "search", class: "unseen" }, "Search products"),
          search,
        ),
        found,
        list,
        more,
      ),
      panel.node,
    ),
  );
  return { title: "Shop", node, load };
}

function cardOf(app, product, add) {
  const left = BigInt(product.available) - BigInt(app.basket.quantityOf(product.id));
  const words = left > 0n ? `${left} left` : "None left";
  const button = html(
    "button",
    {
      type: "button",
      "data-key": `add ${product.id}`,
      "aria-label": `Add ${product.name} to the basket`,
      "aria-disabled": left > 0n ? null : "true",
      on: { click: () => left > 0n && add(product) },
    },
    "Add",
  );
  return html(
    "li",
    { class: "card product" },
    html("h2", {}, product.name),
    product.description ? html("p", { class: "small" }, product.description) : null,
    html(
      "div",
      { class: "card-foot" },
      html(
        "p",
        { class: "price" },
        app.money.format(product.price_minor, product.currency_code),
        html("span", { class: "unit", "data-tone": left > 0n ? null : "bad" }, words),
      ),
      button,
    ),
  );
}
