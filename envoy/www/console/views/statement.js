import { concernsAccounts, isOpen, kindInWords, nameOf } from "../accounts.js";
import { balanceChart } from "../chart.js";
import { coalesced, emptyState, facts, heading, html, replaceKeepingFocus, time } from "../dom.js";

const PAGE_SIZE = 200;
const MOST_PAGES = 5;
const SHOWN_AT_FIRST = 25;
const DAY_MS = 86_400_000;
const RANGES = { 7: "7 days", 30: "30 days", 90: "90 days", all: "All" };

/**
 * What was booked on one account: totals, the course of the balance, and the entries.
 *
 * @param {import("../main.js").App} app
 * @param {string} accountId
 */
export function statementView(app, accountId) {
  let range = "30";
  let drawn = "";
  const table = { rows: SHOWN_AT_FIRST };
  const title = heading("Statement");
  const body = html("div", { class: "stack" });
  const pay = html("a", { class: "button", href: `#/pay/${accountId}`, hidden: true }, "Pay from here");
  const draw = async (wanted) => {
    const { account } = await app.session.call("GET", `/v1/accounts/${encodeURIComponent(accountId)}`);
    const booked = await read(app, accountId, wanted);
    title.textContent = nameOf(account);
    pay.hidden = !isOpen(account);
    if (wanted === range) {
      replaceKeepingFocus(body, ...contents(app, account, booked, { range: RANGES[range], table }));
      drawn = range;
    }
  };
  const load = coalesced(async () => {
    try {
      await draw(range);
    } catch (error) {
      // Totals of another range than the chosen one would be taken for its own.
      if (drawn !== range) {
        body.replaceChildren();
        drawn = "";
      }
      throw error;
    }
  });
  const choose = (value) => {
    range = value;
    table.rows = SHOWN_AT_FIRST;
    return app.reload();
  };
  const node = html(
    "div",
    {},
    html("p", { class: "crumb" }, html("a", { href: "#/accounts" }, "Accounts")),
    html("div", { class: "headline" }, title, pay),
    rangeChoice(range, choose),
    body,
  );
  return { title: "Statement", node, load, concerns: concernsAccounts };
}

function rangeChoice(chosen, onChoose) {
  const option = ([value, text]) =>
    html(
      "label",
      {},
      html("input", {
        type: "radio",
        name: "range",
        value,
        checked: value === chosen,
        on: { change: () => onChoose(value) },
      }),
      html("span", {}, text),
    );
  const options = Object.entries(RANGES).sort(([a], [b]) => (a === "all") - (b === "all"));
  return html("fieldset", { class: "segments" }, html("legend", { class: "unseen" }, "Range"), ...options.map(option));
}

/** Totals of the whole range, and its newest entries with their transfers. */
async function read(app, accountId, range) {
  const start = range === "all" ? "" : new Date(Date.now() - Number(range) * DAY_MS).toISOString();
  const get = (path, query) => app.session.call("GET", path, { query });
  const [statement, entries, transfers] = await Promise.all([
    get(`/v1/accounts/${encodeURIComponent(accountId)}/statement`, { start_time: start, page_size: 1 }),
    newest((query) => get(`/v1/accounts/${encodeURIComponent(accountId)}/entries`, query), "entries", start),
    newest((query) => get("/v1/transfers", { ...query, account_id: accountId }), "transfers", start),
  ]);
  return { start, statement, entries, transfers: new Map(transfers.map((transfer) => [transfer.id, transfer])) };
}

/** Pages of a list that is newest first, back to an instant, at most a thousand items. */
async function newest(page, name, start) {
  const items = [];
  const since_ms = start ? Date.parse(start) : 0;
  let pageToken = "";
  for (let count = 0; count < MOST_PAGES; count += 1) {
    const answer = await page({ page_size: PAGE_SIZE, page_token: pageToken });
    items.push(...answer[name]);
    pageToken = answer.next_page_token;
    if (!pageToken || Date.parse(items.at(-1).create_time) < since_ms) {
      break;
    }
  }
  return items.filter((item) => Date.parse(item.create_time) >= since_ms);
}

function contents(app, account, booked, { range, table }) {
  const { statement, entries } = booked;
  const amount = (minor) => app.money.format(minor, account.currency_code);
  const totals = facts([
    ["Opening balance", amount(statement.opening_balance_minor)],
    ["Money in", amount(statement.credited_minor)],
    ["Money out", amount(statement.debited_minor)],
    ["Balance", amount(statement.closing_balance_minor)],
  ]);
  if (!entries.length) {
    const words = range === RANGES.all ? "Nothing was booked yet." : `Nothing was booked in the last ${range}.`;
    return [html("div", { class: "card" }, totals), html("div", { class: "card" }, emptyState("No entries", words))];
  }
  return [
    html("div", { class: "card" }, totals, chartOf(app, account, booked)),
    html("section", { class: "card" }, html("h2", {}, "Entries"), tableOf(app, account, booked, table)),
  ];
}

function chartOf(app, account, { start, statement, entries }) {
  const oldest = entries.at(-1);
  const format = (minor) => app.money.format(minor, account.currency_code);
  const changes = entries
    .map((entry) => ({ time_ms: Date.parse(entry.create_time), minor: BigInt(entry.balance_after_minor) }))
    .reverse();
  const before = BigInt(oldest.balance_after_minor) - BigInt(oldest.amount_minor);
  const now = { time_ms: Date.now(), minor: changes.at(-1).minor };
  // Nothing is known of the time before the oldest entry that was read, unless all of the range was.
  const whole = BigInt(statement.entry_count) <= BigInt(entries.length);
  const late = !start || !whole || oldest.sequence === "1";
  const lead_ms = Math.max((now.time_ms - changes[0].time_ms) / 50, 1000);
  const begin = { time_ms: late ? changes[0].time_ms - lead_ms : Date.parse(start), minor: before };
  const points = [begin, ...changes, now];
  const amounts = points.map(({ minor }) => minor);
  const least = amounts.reduce((a, b) => (a < b ? a : b));
  const most = amounts.reduce((a, b) => (a > b ? a : b));
  return balanceChart({
    points,
    format,
    formatShort: (minor) => app.money.format(minor, account.currency_code, { compact: true }),
    label:
      `The balance went from ${format(before)} to ${format(now.minor)}, with ${format(least)} at the least ` +
      `and ${format(most)} at the most. The entries are in the table below.`,
  });
}

/** `shown.rows` outlives the table, so that it is as long again when there is news. */
function tableOf(app, account, { statement, entries, transfers }, shown) {
  const rows = html("tbody");
  const more = html("button", { type: "button", class: "secondary", "data-key": "more" }, "Show older entries");
  const render = () => {
    const visible = entries.slice(rows.children.length, shown.rows);
    rows.append(...visible.map((entry) => rowOf(app, account, entry, transfers)));
    more.hidden = shown.rows >= entries.length;
  };
  more.addEventListener("click", () => {
    shown.rows = MOST_PAGES * PAGE_SIZE;
    render();
  });
  render();
  const columns = ["When", "What", "Amount", "Balance"];
  const left = BigInt(statement.entry_count) - BigInt(entries.length);
  const table = html(
    "table",
    {},
    html("caption", { class: "unseen" }, "Entries, newest first"),
    html("thead", {}, html("tr", {}, ...columns.map((text) => html("th", { scope: "col" }, text)))),
    rows,
  );
  const note = left > 0n ? html("p", { class: "hint" }, `${left} older entries of this range are not shown.`) : null;
  return html("div", {}, table, more, note);
}

function rowOf(app, account, entry, transfers) {
  const transfer = transfers.get(entry.transfer_id);
  const credited = !entry.amount_minor.startsWith("-");
  const words = kindInWords(transfer, credited);
  const amount = (minor, options) => app.money.format(minor, account.currency_code, options);
  return html(
    "tr",
    {},
    html("td", { class: "when" }, time(entry.create_time)),
    html(
      "td",
      { class: "what" },
      transfer?.description || words,
      transfer?.description ? html("span", { class: "small" }, words) : null,
      html("span", { class: "small time" }, time(entry.create_time)),
    ),
    html(
      "td",
      { class: "number", "data-tone": credited ? "good" : null },
      amount(entry.amount_minor, { signed: true }),
    ),
    html("td", { class: "number after" }, amount(entry.balance_after_minor)),
  );
}
