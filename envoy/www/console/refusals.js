/** What a refusal means to the person in front of the page; the reasons are those of docs/errors.md. */
const WORDS = {
  UNREACHABLE: () => "The service cannot be reached. Check your connection and try again.",
  UNAVAILABLE: () => "The service cannot answer just now. Try again in a moment.",
  DATABASE_UNAVAILABLE: () => "The service cannot answer just now. Try again in a moment.",
  OVERLOADED: ({ wait }) => `The service is busy. Try again ${wait}.`,
  COMMIT_UNKNOWN: () => "The service lost its connection at the last moment. Try again.",
  DEADLINE_EXCEEDED: () => "That took too long. Try again.",
  CONTENTION: () => "The account is busy with other payments. Try again.",
  RATE_LIMITED: ({ wait }) => `That was too often in a short time. Try again ${wait}.`,
  LOGIN_THROTTLED: ({ wait }) => `Too many sign-ins failed. Try again ${wait}, or set a new password by mail.`,
  BAD_CREDENTIALS: () => "The user name or the password is wrong.",
  UNAUTHENTICATED: () => "Your session has ended. Sign in again.",
  SESSION_REVOKED: () => "Your session has ended. Sign in again.",
  PERMISSION_DENIED: () => "You are not allowed to do that.",
  NOT_FOUND: () => "That does not exist, or is not yours to see.",
  USERNAME_TAKEN: () => "Somebody has this user name. Choose another one.",
  EMAIL_NOT_VERIFIED: () => "Prove your e-mail address first: open the link in the mail we sent you.",
  REQUEST_ID_REUSED: () => "This was sent before with other details. Go back and begin again.",
  SAME_ACCOUNT: () => "Source and destination are the same account.",
  CURRENCY_MISMATCH: () => "The accounts are not in the same currency.",
  ACCOUNT_CLOSED: () => "One of the accounts is closed.",
  ACCOUNT_FROZEN: () => "The account is frozen: it can be paid into, but not from. Ask the bank.",
  AMOUNT_OVERFLOW: () => "That is more than an account can hold.",
  TOO_MANY_HOLDS: () => "Too many payments are reserved on the account. Wait until some are settled.",
  INSUFFICIENT_FUNDS: ({ metadata, amount }) =>
    metadata.needed_minor && amount
      ? `The account has not enough money: ${amount(metadata.needed_minor)} needed, ` +
        `${amount(metadata.available_minor)} available.`
      : "The account has not enough money.",
  PRICE_CHANGED: ({ metadata, amount }) =>
    `The price has changed: it is ${amount(metadata.total_minor)} now. Look at the basket again.`,
  OUT_OF_STOCK: () => "There is less in stock than you want. The basket shows how much is left.",
  PRODUCT_ARCHIVED: () => "One of the products is not sold any more.",
  ORDER_STATE: () => "The order has moved on, so this is not possible any more.",
  INTERNAL: () => "Something is broken on our side. Try again later.",
};

/**
 * @param {Error} error An ApiError, or a defect of the page.
 * @param {(minor: string) => string} [amount] Formats the amounts that the refusal speaks of.
 * @returns {string} One or two sentences.
 */
export function explain(error, amount) {
  const words = WORDS[error.reason];
  if (words) {
    return words({ metadata: error.metadata, amount, wait: waitOf(error.retryDelay_ms) });
  }
  if (error.violations?.length) {
    return error.violations.map(({ field, description }) => `${capitalized(field)} ${description}.`).join(" ");
  }
  return error.message ? `${capitalized(error.message)}.` : "That did not work.";
}

/** A wait in words: in 12 seconds. */
function waitOf(delay_ms) {
  const seconds = Math.ceil(delay_ms / 1000);
  if (seconds <= 1) {
    return "in a moment";
  }
  return seconds < 120 ? `in ${seconds} seconds` : `in ${Math.ceil(seconds / 60)} minutes`;
}

function capitalized(text) {
  return text.charAt(0).toUpperCase() + text.slice(1).replaceAll("_", " ");
}
