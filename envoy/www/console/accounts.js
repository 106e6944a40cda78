/** Accounts of the user, as several views need them. */

/**
 * @param {import("./session.js").Session} session
 * @returns {Promise<object[]>} All of the user's accounts, the oldest first.
 */
export async function listAccounts(session) {
  const accounts = [];
  let pageToken = "";
  do {
    const query = { owner_user_id: "me", page_size: 200, page_token: pageToken };
    const page = await session.call("GET", "/v1/accounts", { query });
    accounts.push(...page.accounts);
    pageToken = page.next_page_token;
  } while (pageToken);
  return accounts.reverse();
}

/** What the owner calls it, or its currency. */
export function nameOf(account) {
  return account.display_name || `${account.currency_code} account`;
}

/** Whether it can be paid from. */
export function isOpen(account) {
  return account.state === "ACCOUNT_STATE_OPEN";
}

/** Whether an event may have changed a balance, a state or a list of accounts. */
export function concernsAccounts(event) {
  return /^(account|transfer|hold|order)\./.test(event.type);
}

/** A line for a select: the name, and what is there to be spent. */
export function optionOf(account, money) {
  return [account.id, `${nameOf(account)} – ${money.format(account.available_minor, account.currency_code)}`];
}

const KINDS = {
  TRANSFER_KIND_TRANSFER: ["Payment sent", "Payment received"],
  TRANSFER_KIND_DEPOSIT: ["Paid in", "Paid in"],
  TRANSFER_KIND_WITHDRAWAL: ["Paid out", "Paid out"],
  TRANSFER_KIND_CAPTURE: ["Purchase", "Sale"],
  TRANSFER_KIND_REVERSAL: ["Refund sent", "Refund received"],
};

/**
 * Why money moved, in two or three words.
 *
 * @param {object | undefined} transfer
 * @param {boolean} credited Whether it came in.
 */
export function kindInWords(transfer, credited) {
  return (KINDS[transfer?.kind] ?? ["Payment sent", "Payment received"])[credited ? 1 : 0];
}
