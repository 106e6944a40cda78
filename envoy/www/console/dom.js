const SVG = "http://www.w3.org/2000/svg";

/**
 * Make an element. Text becomes text nodes, so nothing that came from elsewhere is read as markup.
 *
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `on` has listeners by event; true is an attribute
 *   without value; false, null and undefined leave it out.
 * @param {...(Node | string | null | undefined)} children
 * @returns {HTMLElement}
 */
export function html(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** As `html`, for pictures. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A heading that the view's change of focus goes to. */
export function heading(text) {
  return html("h1", { tabindex: "-1" }, text);
}

/** An instant as a `time` element. */
export function time(instant, options = { dateStyle: "medium", timeStyle: "short" }) {
  const text = new Intl.DateTimeFormat(undefined, options).format(new Date(instant));
  return html("time", { datetime: instant }, text);
}

/** Replace what an element holds; the focus stays on the part with the same `data-key`. */
export function replaceKeepingFocus(parent, ...children) {
  const key = parent.contains(document.activeElement) && document.activeElement.dataset.key;
  parent.replaceChildren(...children);
  if (key) {
    parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
  }
}

/**
 * Let a task run once at a time; asked for while it runs, it runs once more afterwards.
 *
 * @param {() => Promise<void>} task
 * @returns {() => Promise<void>} Resolves when what was asked for has been done.
 */
export function coalesced(task) {
  let running = null;
  let next = null;
  const run = () => {
    running = task().finally(() => {
      running = null;
    });
    return running;
  };
  return () => {
    if (!running) {
      return run();
    }
    next ??= running
      .catch(() => {})
      .then(() => {
        next = null;
        return run();
      });
    return next;
  };
}

/** What is shown where a list has nothing in it. */
export function emptyState(title, text, ...more) {
  return html("div", { class: "empty" }, html("p", { class: "empty-title" }, title), html("p", {}, text), ...more);
}

/** A list of names and values. */
export function facts(pairs) {
  const pair = ([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value));
  return html("dl", { class: "facts" }, ...pairs.map(pair));
}

/**
 * Ask before something that cannot be undone.
 *
 * @param {{title: string, text: string, confirm: string, cancel: string}} words
 * @returns {Promise<boolean>} Whether it was confirmed; Escape cancels.
 */
export function confirmed({ title, text, confirm, cancel }) {
  return new Promise((resolve) => {
    const answer = (value) => html("button", { value, class: value ? "" : "secondary" }, value ? confirm : cancel);
    const dialog = html(
      "dialog",
      { "aria-labelledby": "dialog-title" },
      html("h2", { id: "dialog-title" }, title),
      html("p", {}, text),
      html("form", { method: "dialog", class: "actions" }, answer(""), answer("yes")),
    );
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes");
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Cancel every dialog. */
export function closeDialogs() {
  document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
}

function filled(element, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const [name, listener] of Object.entries(on)) {
    element.addEventListener(name, listener);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
