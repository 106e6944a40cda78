import { concernsAccounts, isOpen, listAccounts, nameOf, optionOf } from "../accounts.js";
import { coalesced, emptyState, facts, heading, html } from "../dom.js";
import { createField, createForm, createSelect, FieldError } from "../form.js";
import { notify } from "../notices.js";
import { explain } from "../refusals.js";

/**
 * Pay somebody by name: write down what, look at who it is, then send. What is sent carries one
 * request id until it is known to have happened, so sending again never pays twice.
 *
 * @param {import("../main.js").App} app
 * @param {string} [accountId] The account to begin with.
 */
export function payView(app, accountId) {
  const accounts = new Map();
  const source = createField({
    name: "source_account_id",
    label: "From",
    control: createSelect([], { required: true }),
  });
  const payee = createField({
    name: "username",
    label: "To",
    hint: "The user name of somebody who takes payments by name.",
    attributes: { autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: 32 },
  });
  const amount = createField({
    name: "amount_minor",
    label: "Amount",
    attributes: { inputmode: "decimal", autocomplete: "off", maxlength: 24 },
  });
  const description = createField({
    name: "description",
    label: "Message (optional)",
    hint: "Both of you see it.",
    attributes: { autocomplete: "off", maxlength: 200, required: false },
  });
  const label = amount.node.querySelector("label");
  const nameCurrency = () => {
    const code = accounts.get(source.control.value)?.currency_code;
    label.textContent = code ? `Amount in ${code}` : "Amount";
    amount.control.placeholder = code ? app.money.example(code) : "";
  };
  source.control.addEventListener("change", nameCurrency);

  const stage = html("section", { class: "card narrow" });
  const form = createForm({
    label: "Pay",
    fields: [source, payee, amount, description],
    submit: "Continue",
    explainError: (error) => (error.reason === "NOT_FOUND" ? "" : undefined),
    onSubmit: async (values) => {
      const payment = await prepared(app, accounts.get(values.source_account_id), values);
      stage.replaceChildren(review(app, payment, { back, finish }));
      stage.querySelector("h2").focus();
    },
  });
  const back = () => {
    stage.replaceChildren(form);
    payee.control.focus();
  };
  const finish = (payment) => {
    [payee, amount, description].forEach(({ control }) => (control.value = ""));
    stage.replaceChildren(receipt(app, payment, back));
    stage.querySelector("h2").focus();
  };

  const load = coalesced(async () => {
    const open = (await listAccounts(app.session)).filter(isOpen);
    accounts.clear();
    open.forEach((account) => accounts.set(account.id, account));
    const chosen = source.control.value || accountId;
    source.control.replaceChildren(...createSelect(open.map((account) => optionOf(account, app.money))).children);
    source.control.value = accounts.has(chosen) ? chosen : (likeliest(open)?.id ?? "");
    nameCurrency();
    if (!open.length) {
      stage.replaceChildren(emptyState("No account to pay from", "Open one first, or wait until yours is there."));
    } else if (stage.querySelector(".empty")) {
      stage.replaceChildren(form);
    }
  });
  stage.append(form);
  const node = html("div", {}, heading("Pay somebody"), stage);
  return { title: "Pay", node, load, concerns: concernsAccounts };
}

/** The oldest account with money on it. */
function likeliest(accounts) {
  return accounts.find(({ available_minor }) => BigInt(available_minor) > 0n) ?? accounts[0];
}

/** What is to be sent, with the payee found. */
async function prepared(app, account, values) {
  const username = values.username.trim().toLowerCase();
  let amount_minor;
  try {
    amount_minor = app.money.parse(values.amount_minor, account.currency_code);
  } catch (error) {
    throw error instanceof RangeError ? new FieldError("amount_minor", error.message) : error;
  }
  const payee = await findPayee(app, username, account.currency_code);
  const body = {
    source_account_id: account.id,
    destination_account_id: payee.account_id,
    amount_minor: amount_minor.toString(),
    currency_code: account.currency_code,
    description: values.description.trim(),
  };
  return { account, payee, body };
}

async function findPayee(app, username, currencyCode) {
  const query = { currency_code: currencyCode };
  try {
    return (await app.session.call("GET", `/v1/payees/${encodeURIComponent(username)}`, { query })).payee;
  } catch (error) {
    if (error.reason === "NOT_FOUND" || error.reason === "INVALID_REQUEST") {
      const found = `Nobody called ${username} takes payments in ${currencyCode} by name.`;
      const advice = "Check the spelling, or ask them to turn it on in their profile.";
      throw new FieldError("username", `${found} ${advice}`);
    }
    throw error;
  }
}

function review(app, payment, { back, finish }) {
  const { account, payee, body } = payment;
  const amount = (minor) => app.money.format(minor, account.currency_code);
  const change = html("button", { type: "button", class: "secondary", on: { click: back } }, "Change");
  const form = createForm({
    label: "Check and send",
    fields: [],
    submit: `Send ${amount(body.amount_minor)}`,
    more: [change],
    amount,
    explainError: (error) =>
      error.outcomeUnknown ? `${explain(error)} It is paid once, however often you send it.` : "",
    onSubmit: async () => {
      const request = app.intents.payment.request(body);
      const { replayed } = await app.session.call("POST", "/v1/transfers", { body: request });
      app.intents.payment.done(body);
      const sent = `${amount(body.amount_minor)} ${replayed ? "was sent" : "sent"} to ${payee.username}`;
      notify(replayed ? `${sent} before, and is paid once.` : `${sent}.`, "good");
      finish(payment);
    },
  });
  return html("div", {}, html("h2", { tabindex: "-1" }, "Check and send"), summary(app, payment), form);
}

function summary(app, { account, payee, body }) {
  const pairs = [
    ["Amount", app.money.format(body.amount_minor, account.currency_code)],
    ["To", `${payee.masked_name} (${payee.username})`],
    ["From", nameOf(account)],
  ];
  return facts(body.description ? [...pairs, ["Message", body.description]] : pairs);
}

function receipt(app, payment, again) {
  return html(
    "div",
    {},
    html("h2", { tabindex: "-1" }, "Sent"),
    summary(app, payment),
    html(
      "div",
      { class: "actions" },
      html("a", { class: "button", href: `#/accounts/${payment.account.id}` }, "See the statement"),
      html("button", { type: "button", class: "secondary", on: { click: again } }, "Pay again"),
    ),
  );
}
