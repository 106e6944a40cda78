import { concernsAccounts, isOpen, kindInWords, listAccounts, nameOf } from "../accounts.js";
import { coalesced, emptyState, facts, heading, html, replaceKeepingFocus, time } from "../dom.js";
import { createField, createForm, createSelect } from "../form.js";
import { icon } from "../icons.js";
import { notify } from "../notices.js";

const RECENT = 8;

/**
 * All accounts with what is on them, and what happened last.
 *
 * @param {import("../main.js").App} app
 */
export function accountsView(app) {
  const cards = html("ul", { class: "cards", "aria-label": "Your accounts" });
  const recent = html("div");
  const open = html("button", { type: "button", class: "secondary" }, "Open an account");
  const load = coalesced(async () => {
    const [accounts, { transfers }] = await Promise.all([
      listAccounts(app.session),
      app.session.call("GET", "/v1/transfers", { query: { page_size: 50 } }),
    ]);
    replaceKeepingFocus(cards, ...accounts.map((account) => cardOf(app, account)));
    replaceKeepingFocus(recent, activity(app, accounts, transfers));
  });
  open.addEventListener("click", () => openingDialog(app));
  const node = html(
    "div",
    {},
    html("div", { class: "headline" }, heading("Accounts"), open),
    cards,
    html("section", { class: "card" }, html("h2", {}, "Recent activity"), recent),
  );
  return { title: "Accounts", node, load, concerns: concernsAccounts };
}

function cardOf(app, account) {
  const amount = (minor) => app.money.format(minor, account.currency_code);
  const name = nameOf(account);
  const state = { ACCOUNT_STATE_FROZEN: "Frozen", ACCOUNT_STATE_CLOSED: "Closed" }[account.state];
  const pairs = [
    ["Posted", amount(account.posted_minor)],
    ["Held", amount(account.held_minor)],
  ];
  if (account.overdraft_limit_minor !== "0") {
    pairs.push(["Overdraft limit", amount(account.overdraft_limit_minor)]);
  }
  const link = (href, text, key) =>
    html("a", { href, "data-key": `${key} ${account.id}`, "aria-label": `${text}: ${name}` }, text);
  return html(
    "li",
    { class: "card account" },
    html(
      "div",
      { class: "card-top" },
      html("h2", {}, name),
      html("span", { class: "chip", "data-tone": state ? "bad" : null }, state ?? account.currency_code),
    ),
    html("p", { class: "figure" }, amount(account.available_minor), html("span", { class: "unit" }, "available")),
    facts(pairs),
    html(
      "div",
      { class: "links" },
      link(`#/accounts/${account.id}`, "Statement", "statement"),
      isOpen(account) ? link(`#/pay/${account.id}`, "Pay from here", "pay") : null,
    ),
  );
}

function activity(app, accounts, transfers) {
  const own = new Set(accounts.map(({ id }) => id));
  // Bankers and admins are shown everybody's; here only one's own belong.
  const concerning = transfers.filter(
    (each) => own.has(each.source_account_id) || own.has(each.destination_account_id),
  );
  if (!concerning.length) {
    return emptyState("Nothing yet", "What is paid in and out appears here at once.");
  }
  return html("ul", { class: "rows" }, ...concerning.slice(0, RECENT).map((each) => activityRow(app, own, each)));
}

function activityRow(app, own, transfer) {
  const credited = own.has(transfer.destination_account_id);
  const inside = credited && own.has(transfer.source_account_id);
  const minor = BigInt(transfer.amount_minor) * (credited ? 1n : -1n);
  const words = inside ? "Between your accounts" : kindInWords(transfer, credited);
  return html(
    "li",
    {},
    html("span", { class: "token", "data-tone": credited ? "good" : null }, icon(credited ? "in" : "out")),
    html(
      "div",
      { class: "what" },
      html("span", {}, transfer.description || words),
      html(
        "span",
        { class: "small" },
        transfer.description ? `${words} · ` : "",
        time(transfer.create_time, { dateStyle: "medium" }),
      ),
    ),
    html(
      "span",
      { class: "sum", "data-tone": credited ? "good" : null },
      app.money.format(minor, transfer.currency_code, { signed: true }),
    ),
  );
}

function openingDialog(app) {
  const currencies = app.money.currencies.map((each) => [each.currency_code, `${each.currency_code} – ${each.name}`]);
  const currency = createField({ name: "currency_code", label: "Currency", control: createSelect(currencies) });
  currency.control.value = "USD";
  const name = createField({
    name: "display_name",
    label: "Name (optional)",
    hint: "Only you see it.",
    attributes: { maxlength: 100, required: false, autocomplete: "off" },
  });
  const cancel = html("button", { type: "button", class: "secondary", on: { click: () => dialog.close() } }, "Cancel");
  const form = createForm({
    label: "Open an account",
    fields: [currency, name],
    submit: "Open it",
    more: [cancel],
    onSubmit: async (values) => {
      const body = app.intents.account.request(values);
      const { account } = await app.session.call("POST", "/v1/accounts", { body });
      app.intents.account.done(values);
      dialog.close();
      notify(`${nameOf(account)} is open.`, "good");
      await app.reload();
    },
  });
  const title = html("h2", { id: "opening-title" }, "Open an account");
  const dialog = html(
    "dialog",
    { "aria-labelledby": "opening-title", on: { close: () => dialog.remove() } },
    title,
    form,
  );
  document.body.append(dialog);
  dialog.showModal();
}
