import { isOpen, listAccounts, optionOf } from "../accounts.js";
import { isSold } from "../basket.js";
import { html, replaceKeepingFocus } from "../dom.js";
import { createField, createForm, createSelect } from "../form.js";
import { notify } from "../notices.js";
import { explain } from "../refusals.js";

/**
 * The basket beside the shop, and the order that comes of it.
 *
 * @param {import("../main.js").App} app
 * @param {{onChange: () => void, onLearned: (products: object[]) => void}} shop onChange: draw stock
 *   again; onLearned: these products are not what they were.
 * @returns {{node: HTMLElement, link: HTMLElement, render: () => void, load: () => Promise<void>}}
 */
export function basketPanel(app, { onChange, onLearned }) {
  const { basket, money } = app;
  const intent = app.intents.order;
  const amount = (minor) => money.format(minor, basket.currencyCode);
  const title = html("h2", { tabindex: "-1" }, "Basket");
  const link = html("button", {
    type: "button",
    class: "secondary basket-link",
    hidden: true,
    on: { click: () => title.focus() },
  });
  const lines = html("ul", { class: "lines", "aria-label": "In the basket" });
  const total = html("p", { class: "total" });
  const hint = html("p", { class: "hint" }, "It is empty. What you add is reserved only once you order.");
  const account = createField({
    name: "payment_account_id",
    label: "Pay from",
    control: createSelect([], { required: true }),
  });
  let accounts = [];

  const form = createForm({
    label: "Order",
    fields: [account],
    submit: "Place the order",
    amount,
    explainError: (error) =>
      error.outcomeUnknown ? `${explain(error)} It is ordered once, however often you send it.` : "",
    onSubmit: async ({ payment_account_id }) => {
      const items = basket.lines.map(({ product, quantity }) => ({ product_id: product.id, quantity }));
      const meant = { payment_account_id, items };
      basket.paymentAccountId = payment_account_id;
      // Another price makes it no other order: the total is the one that was shown when it was first sent.
      const body = intent.request(meant, { ...meant, expected_total_minor: basket.total_minor.toString() });
      let replayed;
      try {
        ({ replayed } = await app.session.call("POST", "/v1/orders", { body }));
      } catch (error) {
        // Nothing was ordered, and what is shown is out of date.
        if (["OUT_OF_STOCK", "PRICE_CHANGED", "PRODUCT_ARCHIVED"].includes(error.reason)) {
          intent.done(meant);
          await learn();
        }
        throw error;
      }
      intent.done(meant);
      basket.clear();
      const words = replayed ? "This was ordered before, and is ordered once." : "Ordered.";
      notify(`${words} The money is reserved until it is shipped.`, "good");
      app.go("#/orders");
    },
  });

  const learn = async () => {
    const paths = basket.lines.map(({ product }) => `/v1/products/${product.id}`);
    const answers = await Promise.all(paths.map((path) => app.session.call("GET", path)));
    const products = answers.map(({ product }) => product);
    basket.refresh(products);
    onLearned(products);
  };
  const set = (product, quantity) => {
    basket.set(product, quantity);
    onChange();
    if (!basket.quantityOf(product.id)) {
      title.focus();
    }
  };
  const render = () => {
    const filled = basket.lines.length > 0;
    replaceKeepingFocus(lines, ...basket.lines.map((line) => lineOf(line, amount, set)));
    hint.hidden = filled;
    form.hidden = !filled;
    total.hidden = !filled;
    link.hidden = !filled;
    if (filled) {
      total.replaceChildren(html("span", {}, "Total"), html("span", {}, amount(basket.total_minor)));
      link.textContent = `Basket: ${basket.size} · ${amount(basket.total_minor)}`;
      offerAccounts();
    }
  };
  const offerAccounts = () => {
    const fitting = accounts.filter((each) => each.currency_code === basket.currencyCode);
    const chosen = account.control.value || basket.paymentAccountId;
    account.control.replaceChildren(...createSelect(fitting.map((each) => optionOf(each, money))).children);
    account.control.value = fitting.some(({ id }) => id === chosen) ? chosen : (fitting[0]?.id ?? "");
    account.complain(fitting.length ? "" : `You have no account in ${basket.currencyCode}.`);
  };
  const load = async () => {
    accounts = (await listAccounts(app.session)).filter(isOpen);
    render();
  };
  const node = html("section", { class: "card basket", "aria-label": "Basket" }, title, hint, lines, total, form);
  return { node, link, render, load };
}

function lineOf({ product, quantity }, amount, set) {
  const button = (text, words, next) =>
    html(
      "button",
      {
        type: "button",
        class: "step",
        "data-key": `${text} ${product.id}`,
        "aria-label": `${words} ${product.name}`,
        on: { click: () => set(product, next) },
      },
      text,
    );
  const short = BigInt(quantity) > BigInt(product.available);
  const complaint = isSold(product) ? short && `Only ${product.available} left` : "Not sold any more";
  return html(
    "li",
    {},
    html(
      "span",
      { class: "what" },
      product.name,
      complaint ? html("span", { class: "complaint" }, complaint) : null,
    ),
    html(
      "span",
      { class: "quantity" },
      button("−", "One less:", quantity - 1),
      html("span", { class: "count" }, html("span", { class: "unseen" }, "Quantity: "), String(quantity)),
      button("+", "One more:", quantity + 1),
    ),
    html("span", { class: "sum" }, amount(BigInt(product.price_minor) * BigInt(quantity))),
  );
}
