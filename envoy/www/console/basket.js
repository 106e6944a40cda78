/**
 * What somebody is about to order: products of one merchant in one currency, paid to one account,
 * since that is what one order may hold.
 */
export function createBasket() {
  /** @type {Map<string, {product: object, quantity: number}>} */
  const lines = new Map();
  return {
    /** The account it was last to be paid from. */
    paymentAccountId: "",

    get lines() {
      return [...lines.values()];
    },

    get size() {
      return [...lines.values()].reduce((count, { quantity }) => count + quantity, 0);
    },

    get currencyCode() {
      return lines.values().next().value?.product.currency_code ?? "";
    },

    /** In minor units. */
    get total_minor() {
      const prices = [...lines.values()].map(({ product, quantity }) => BigInt(product.price_minor) * BigInt(quantity));
      return prices.reduce((total, price) => total + price, 0n);
    },

    /** Whether the product can be ordered together with what is in here. */
    takes(product) {
      const first = lines.values().next().value?.product;
      const key = (each) => `${each.merchant_user_id} ${each.currency_code} ${each.settlement_account_id}`;
      return !first || key(first) === key(product);
    },

    quantityOf(productId) {
      return lines.get(productId)?.quantity ?? 0;
    },

    /** Have so many pieces; 0 takes the product out. */
    set(product, quantity) {
      if (quantity > 0) {
        lines.set(product.id, { product, quantity });
      } else {
        lines.delete(product.id);
      }
    },

    /** Learn new prices and stock of what is in here. */
    refresh(products) {
      for (const product of products.filter(({ id }) => lines.has(id))) {
        lines.get(product.id).product = product;
      }
    },

    clear() {
      lines.clear();
    },
  };
}

/** Whether it can be ordered at all. */
export function isSold(product) {
  return product.state === "PRODUCT_STATE_ACTIVE";
}
