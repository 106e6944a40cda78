import { html, svg } from "./dom.js";

const HEIGHT = 220;
const LEFT = 64;
const RIGHT = 12;
const TOP = 12;
const BOTTOM = 28;
const PRECISION = 100_000n;

/**
 * The course of a balance as a stepped line. A table of the same entries belongs beside it: the
 * picture is one sentence to those who do not see it.
 *
 * @param {object} options
 * @param {{time_ms: number, minor: bigint}[]} options.points The balance after each change, oldest first;
 *   at least two.
 * @param {(minor: bigint) => string} options.format In full, for the pointer.
 * @param {(minor: bigint) => string} options.formatShort For the axis.
 * @param {string} options.label What the picture shows.
 * @returns {HTMLElement}
 */
export function balanceChart({ points, format, formatShort, label }) {
  const readout = html("p", { class: "readout", "aria-hidden": "true" });
  const canvas = html("div", { class: "canvas" });
  let scale = null;

  const draw = (width) => {
    scale = scaleOf(points, width);
    canvas.replaceChildren(picture({ points, scale, width, formatShort, label }));
  };
  const point = (event) => {
    const x = event.clientX - canvas.getBoundingClientRect().left;
    const near = points.findLast(({ time_ms }) => scale.x(time_ms) <= x) ?? points[0];
    const instant = dateOf(near.time_ms, { dateStyle: "medium", timeStyle: "short" });
    readout.textContent = `${format(near.minor)} · ${instant}`;
    moveMarker(canvas, scale.x(near.time_ms), scale.y(near.minor));
  };
  const leave = () => {
    readout.textContent = "";
    const last = points.at(-1);
    moveMarker(canvas, scale.x(last.time_ms), scale.y(last.minor));
  };
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", leave);
  new ResizeObserver(([entry]) => draw(Math.max(entry.contentRect.width, 240))).observe(canvas);
  return html("div", { class: "chart" }, canvas, readout);
}

/**
 * Round numbers for an axis.
 *
 * @param {bigint} low
 * @param {bigint} high Above low.
 * @returns {bigint[]} From at most low to at least high, evenly spaced, 3 to 6 of them.
 */
export function ticks(low, high) {
  const rough = (high - low) / 4n || 1n;
  const power = 10n ** BigInt(rough.toString().length - 1);
  const step = [1n, 2n, 5n, 10n].map((factor) => factor * power).find((size) => size >= rough);
  const first = floorTo(low, step);
  const found = [first];
  while (found.at(-1) < high) {
    found.push(found.at(-1) + step);
  }
  return found;
}

function floorTo(value, step) {
  const rest = ((value % step) + step) % step;
  return value - rest;
}

/** Where on the picture an instant and an amount are. Only places become floating-point numbers. */
function scaleOf(points, width) {
  const amounts = points.map(({ minor }) => minor);
  const least = amounts.reduce((a, b) => (a < b ? a : b));
  const most = amounts.reduce((a, b) => (a > b ? a : b));
  // From zero on, unless the changes would be too small to see.
  const low = least >= 0n && least * 2n <= most ? 0n : least;
  const levels = ticks(low, most > low ? most : low + 1n);
  const [bottom, top] = [levels[0], levels.at(-1)];
  const [begin, end] = [points[0].time_ms, points.at(-1).time_ms];
  const share = (minor) => Number(((minor - bottom) * PRECISION) / (top - bottom)) / Number(PRECISION);
  return {
    levels,
    begin,
    end,
    x: (time_ms) => LEFT + ((width - LEFT - RIGHT) * (time_ms - begin)) / (end - begin || 1),
    y: (minor) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - share(minor)),
  };
}

function picture({ points, scale, width, formatShort, label }) {
  const line = steps(points, scale);
  const [first, last] = [points[0], points.at(-1)];
  const floor = HEIGHT - BOTTOM;
  const area = `${line} V${floor} H${scale.x(first.time_ms)} Z`;
  return svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label },
    ...scale.levels.map((level) => gridLine(level, scale, width, formatShort)),
    ...dates(scale, width),
    svg("path", { class: "area", d: area }),
    svg("path", { class: "line", d: line }),
    svg("circle", { class: "marker", r: 4.5, cx: scale.x(last.time_ms), cy: scale.y(last.minor) }),
  );
}

/** The balance stays what it was until the next change. */
function steps(points, scale) {
  const [first, ...rest] = points;
  const moves = rest.map(({ time_ms, minor }) => `H${scale.x(time_ms).toFixed(1)} V${scale.y(minor).toFixed(1)}`);
  return `M${scale.x(first.time_ms).toFixed(1)} ${scale.y(first.minor).toFixed(1)} ${moves.join(" ")}`;
}

function gridLine(level, scale, width, formatShort) {
  const y = scale.y(level);
  return svg(
    "g",
    { class: "grid" },
    svg("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
    svg("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, formatShort(level)),
  );
}

function dates(scale, width) {
  const count = width < 480 ? 2 : 4;
  const withinDay = scale.end - scale.begin < 36 * 3_600_000;
  const format = withinDay ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" };
  return Array.from({ length: count }, (_, index) => {
    const time_ms = scale.begin + ((scale.end - scale.begin) * index) / (count - 1);
    const anchor = index === 0 ? "start" : index === count - 1 ? "end" : "middle";
    const place = { x: scale.x(time_ms), y: HEIGHT - 6, "text-anchor": anchor };
    return svg("text", { class: "date", ...place }, dateOf(time_ms, format));
  });
}

function moveMarker(canvas, x, y) {
  const marker = canvas.querySelector(".marker");
  marker.setAttribute("cx", x);
  marker.setAttribute("cy", y);
}

function dateOf(time_ms, options) {
  return new Intl.DateTimeFormat(undefined, options).format(new Date(time_ms));
}
