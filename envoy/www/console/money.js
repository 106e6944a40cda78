/**
 * Amounts as people read and write them. Inside they are minor units: BigInt here, strings of digits
 * in the API, never floating-point numbers.
 */
export class Money {
  #currencies;
  #formats = new Map();

  /**
   * @param {{currency_code: string, minor_unit_digits: number, name: string}[]} currencies Of ListCurrencies.
   * @param {string} [locale] The browser's own, unless given.
   */
  constructor(currencies, locale) {
    this.#currencies = new Map(currencies.map((currency) => [currency.currency_code, currency]));
    this.locale = locale;
    const parts = new Intl.NumberFormat(locale).formatToParts(1.5);
    this.separator = parts.find((part) => part.type === "decimal").value;
  }

  /** All currencies, by code. */
  get currencies() {
    return [...this.#currencies.values()];
  }

  /**
   * @param {string | bigint} minor
   * @param {string} currencyCode
   * @param {{signed?: boolean, compact?: boolean}} [options] signed: a plus before credits;
   *   compact: for an axis, rounded.
   * @returns {string} Such as $1,234.50.
   */
  format(minor, currencyCode, { signed = false, compact = false } = {}) {
    const key = `${currencyCode} ${signed} ${compact}`;
    if (!this.#formats.has(key)) {
      this.#formats.set(key, this.#numberFormat(currencyCode, signed, compact));
    }
    // Given as a string, the number is formatted exactly, however large it is.
    return this.#formats.get(key).format(decimal(BigInt(minor), this.#digits(currencyCode)));
  }

  /**
   * Read what somebody wrote in an amount field.
   *
   * @param {string} text
   * @param {string} currencyCode
   * @returns {bigint} Minor units, above zero.
   * @throws {RangeError} With a sentence that says what would be right.
   */
  parse(text, currencyCode) {
    const digits = this.#digits(currencyCode);
    const [whole, fraction = "", ...rest] = text.trim().split(this.separator);
    // A separator of thousands is refused: in another language it would be the decimal one.
    if (rest.length || !/^\d{1,16}$/.test(whole) || !/^\d*$/.test(fraction) || fraction.length > digits) {
      throw new RangeError(`Write an amount such as ${this.example(currencyCode)}.`);
    }
    const minor = BigInt(whole + fraction.padEnd(digits, "0"));
    if (minor === 0n) {
      throw new RangeError("The amount must be more than zero.");
    }
    return minor;
  }

  /** An amount as it may be written: 12.50. */
  example(currencyCode) {
    const digits = this.#digits(currencyCode);
    return digits ? `12${this.separator}${"50".padEnd(digits, "0").slice(0, digits)}` : "1250";
  }

  #digits(currencyCode) {
    return this.#currencies.get(currencyCode).minor_unit_digits;
  }

  #numberFormat(currencyCode, signed, compact) {
    const digits = this.#digits(currencyCode);
    return new Intl.NumberFormat(this.locale, {
      style: "currency",
      currency: currencyCode,
      signDisplay: signed ? "exceptZero" : "auto",
      ...(compact
        ? { notation: "compact", maximumFractionDigits: 1 }
        : { minimumFractionDigits: digits, maximumFractionDigits: digits }),
    });
  }
}

/**
 * @param {bigint} minor
 * @param {number} digits After the point.
 * @returns {string} Such as -0.05, with a point in every language.
 */
export function decimal(minor, digits) {
  const text = (minor < 0n ? -minor : minor).toString().padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  return `${minor < 0n ? "-" : ""}${whole}${digits ? `.${text.slice(-digits)}` : ""}`;
}

/** The sum of minor units given as strings. */
export function sum(amounts) {
  return amounts.reduce((total, minor) => total + BigInt(minor), 0n);
}
