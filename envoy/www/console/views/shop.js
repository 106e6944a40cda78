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
  let products = [];
  let pageToken = "";

  const page = (token) =>
    app.session.call("GET", "/v1/products", {
      query: { query: search.value.trim(), page_size: PAGE_SIZE, page_token: token },
    });
  const render = () => {
    const empty = html(
      "li",
      { class: "card" },
      emptyState("Nothing found", search.value.trim() ? "Try other words." : "Nothing is on sale yet."),
    );
    replaceKeepingFocus(list, ...(products.length ? products.map((product) => cardOf(app, product, add)) : [empty]));
    more.hidden = !pageToken;
    panel.render();
  };
  const load = coalesced(async () => {
    const answer = await page("");
    products = answer.products;
    pageToken = answer.next_page_token;
    app.basket.refresh(products);
    found.textContent =
      products.length === 1 ? "1 product" : `${products.length}${pageToken ? " or more" : ""} products`;
    render();
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
  const panel = basketPanel(app, { onChange: render, reload: load });

  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => load().catch((error) => notify(explain(error), "bad")), TYPING_MS);
  });
  more.addEventListener("click", async () => {
    try {
      const answer = await page(pageToken);
      products.push(...answer.products);
      pageToken = answer.next_page_token;
      render();
    } catch (error) {
      notify(explain(error), "bad");
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
