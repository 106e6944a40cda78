import { svg } from "./dom.js";

const PATHS = {
  accounts: "M3 10 12 4l9 6M5 10v8m4.7-8v8m4.6-8v8M19 10v8M3 20h18",
  pay: "M4 12h15m-6-6 6 6-6 6",
  shop: "M6 8h12l1 12H5L6 8Zm3 0a3 3 0 0 1 6 0",
  orders: "M4 8l8-4 8 4v8l-8 4-8-4V8Zm0 0 8 4 8-4m-8 4v8",
  profile: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm-7 8c1-4 4-5 7-5s6 1 7 5",
  in: "M12 5v14m-6-6 6 6 6-6",
  out: "M12 19V5m-6 6 6-6 6 6",
};

/**
 * A picture beside words; it says nothing by itself.
 *
 * @param {keyof typeof PATHS} name
 * @returns {SVGElement}
 */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}
