import { coalesced, confirmed, emptyState, heading, html, replaceKeepingFocus, time } from "../dom.js";
import { notify } from "../notices.js";
import { explain } from "../refusals.js";

const STEPS = ["Ordered", "Shipped", "Delivered"];
const REACHED = {
  FULFILLMENT_STATE_RESERVED: 1,
  FULFILLMENT_STATE_SHIPPED: 2,
  FULFILLMENT_STATE_DELIVERED: 3,
  FULFILLMENT_STATE_RELEASED: 0,
};
const STATES = {
  ORDER_STATE_CANCELED: "Canceled",
  ORDER_STATE_EXPIRED: "Expired: it was not shipped in time",
};
const FULFILLMENTS = {
  FULFILLMENT_STATE_RESERVED: "Being prepared",
  FULFILLMENT_STATE_SHIPPED: "On its way",
  FULFILLMENT_STATE_DELIVERED: "Delivered",
};
const PAYMENTS = {
  PAYMENT_STATE_HELD: "Reserved on your account",
  PAYMENT_STATE_PAID: "Paid",
  PAYMENT_STATE_PARTIALLY_REFUNDED: "Partly paid back",
  PAYMENT_STATE_REFUNDED: "Paid back",
  PAYMENT_STATE_RELEASED: "Not paid: the money is free again",
};

/**
 * What the user has ordered; what becomes of it is shown as it happens.
 *
 * @param {import("../main.js").App} app
 */
export function ordersView(app) {
  const list = html("ul", { class: "stack plain", "aria-label": "Your orders" });
  const more = html("button", { type: "button", class: "secondary", hidden: true }, "Show older orders");
  const known = new Map();
  let pages = 1;
  const load = coalesced(async () => {
    const { orders, complete } = await read(app, pages);
    const changed = orders.filter((order) => known.has(order.id) && known.get(order.id) !== statesOf(order));
    changed.forEach((order) => notify(`${itemsOf(order)}: ${stateInWords(order).toLowerCase()}.`, "good"));
    orders.forEach((order) => known.set(order.id, statesOf(order)));
    const cards = orders.map((order) => cardOf(app, order, changed.includes(order)));
    const empty = emptyState(
      "No orders yet",
      "What you order appears here.",
      html("a", { class: "button", href: "#/shop" }, "Go to the shop"),
    );
    replaceKeepingFocus(list, ...(cards.length ? cards : [html("li", { class: "card" }, empty)]));
    more.hidden = complete;
  });
  more.addEventListener("click", () => {
    pages += 1;
    load().catch((error) => notify(explain(error), "bad"));
  });
  const node = html("div", {}, heading("Orders"), list, more);
  const concerns = (event) => /^(order|hold|transfer)\./.test(event.type);
  return { title: "Orders", node, load, concerns };
}

async function read(app, pages) {
  const orders = [];
  let pageToken = "";
  for (let page = 0; page < pages; page += 1) {
    const query = { party: "ORDER_PARTY_BUYER", page_size: 20, page_token: pageToken };
    const answer = await app.session.call("GET", "/v1/orders", { query });
    orders.push(...answer.orders);
    pageToken = answer.next_page_token;
    if (!pageToken) {
      break;
    }
  }
  return { orders, complete: !pageToken };
}

function statesOf(order) {
  return `${order.state} ${order.payment_state} ${order.fulfillment_state} ${order.refunded_minor}`;
}

function stateInWords(order) {
  return STATES[order.state] ?? FULFILLMENTS[order.fulfillment_state] ?? "Under way";
}

function itemsOf(order) {
  const [first, ...rest] = order.items;
  return rest.length ? `${first.product_name} and ${rest.length} more` : first.product_name;
}

function cardOf(app, order, changed) {
  const amount = (minor) => app.money.format(minor, order.currency_code);
  const over = order.state in STATES;
  const tone = over ? "bad" : order.state === "ORDER_STATE_COMPLETED" ? "good" : "news";
  const refunded = order.refunded_minor === "0" ? "" : ` (${amount(order.refunded_minor)})`;
  return html(
    "li",
    { class: "card order", "data-changed": changed, "data-order": order.id },
    html(
      "div",
      { class: "card-top" },
      html("h2", {}, itemsOf(order)),
      html("span", { class: "chip", "data-tone": tone }, stateInWords(order)),
    ),
    html(
      "ul",
      { class: "lines", "aria-label": "Products" },
      ...order.items.map((item) =>
        html(
          "li",
          {},
          html("span", {}, `${item.quantity} × ${item.product_name}`),
          html("span", {}, amount(BigInt(item.unit_price_minor) * BigInt(item.quantity))),
        ),
      ),
      order.items.length > 1
        ? html("li", { class: "total" }, html("span", {}, "Total"), html("span", {}, amount(order.total_minor)))
        : null,
    ),
    over ? null : progress(order),
    html(
      "div",
      { class: "card-foot" },
      html("p", { class: "small" }, `${PAYMENTS[order.payment_state]}${refunded} · `, time(order.create_time)),
      cancelable(order) ? cancelButton(app, order) : null,
    ),
  );
}

function progress(order) {
  const reached = REACHED[order.fulfillment_state];
  const step = (text, index) =>
    html(
      "li",
      { "data-reached": index < reached, "aria-current": index === reached - 1 ? "step" : null },
      html("span", {}, text),
      html("span", { class: "unseen" }, index < reached ? " (done)" : " (to come)"),
    );
  return html("ol", { class: "steps", "aria-label": "Progress" }, ...STEPS.map(step));
}

function cancelable(order) {
  return order.state === "ORDER_STATE_PLACED" && order.fulfillment_state === "FULFILLMENT_STATE_RESERVED";
}

function cancelButton(app, order) {
  const name = itemsOf(order);
  const cancel = async () => {
    const words = { title: "Cancel the order?", text: `${name}. The money on your account is free again at once.` };
    if (!(await confirmed({ ...words, confirm: "Cancel the order", cancel: "Keep it" }))) {
      return;
    }
    try {
      await app.session.call("POST", `/v1/orders/${order.id}:cancel`, { body: {} });
    } catch (error) {
      notify(explain(error), "bad");
    }
    await app.reload();
  };
  const attributes = {
    type: "button",
    class: "quiet",
    "data-key": `cancel ${order.id}`,
    "aria-label": `Cancel ${name}`,
  };
  return html("button", { ...attributes, on: { click: cancel } }, "Cancel");
}
