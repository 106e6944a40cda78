import { html } from "./dom.js";
import { explain } from "./refusals.js";

let count = 0;

/**
 * A labelled field with room for a hint and for what is wrong with it.
 *
 * @param {object} options
 * @param {string} options.name Of the value, and in the service's complaints.
 * @param {string} options.label
 * @param {string} [options.hint]
 * @param {HTMLElement} [options.control] Instead of an input.
 * @param {Record<string, unknown>} [options.attributes] Of the input.
 * @returns {{name: string, node: HTMLElement, control: HTMLInputElement, complain: (text: string) => void}}
 */
export function createField({ name, label, hint, control, attributes = {} }) {
  count += 1;
  const id = `field-${count}`;
  const input = control ?? html("input", { type: "text", required: true, ...attributes });
  const complaint = html("p", { class: "complaint", id: `${id}-complaint` });
  const described = hint ? `${id}-hint ${id}-complaint` : `${id}-complaint`;
  input.id = id;
  input.name = name;
  input.setAttribute("aria-describedby", described);
  const node = html(
    "div",
    { class: "field" },
    html("label", { for: id }, label),
    input,
    hint ? html("p", { class: "hint", id: `${id}-hint` }, hint) : null,
    complaint,
  );
  const complain = (text) => {
    complaint.textContent = text;
    input.toggleAttribute("aria-invalid", Boolean(text));
    if (text) {
      input.setAttribute("aria-invalid", "true");
    }
  };
  return { name, node, control: input, complain };
}

/**
 * A form that is sent once at a time and shows what was wrong beside the field that has it.
 *
 * @param {object} options
 * @param {string} options.label What the form is, for those who do not see it.
 * @param {ReturnType<typeof createField>[]} options.fields
 * @param {string} options.submit What the button says.
 * @param {(values: Record<string, string>) => Promise<void>} options.onSubmit May throw an ApiError,
 *   or a FieldError for one field.
 * @param {(minor: string) => string} [options.amount] Formats the amounts of a refusal.
 * @param {(error: Error) => string} [options.explainError] Says it better than `explain` where it
 *   returns something.
 * @param {Node[]} [options.more] Beside the button.
 * @returns {HTMLFormElement}
 */
export function createForm({ label, fields, submit, onSubmit, amount, explainError, more = [] }) {
  const button = html("button", { type: "submit" }, submit);
  const alert = html("p", { class: "alert", role: "alert" });
  const form = html(
    "form",
    { "aria-label": label, novalidate: true },
    ...fields.map((field) => field.node),
    alert,
    html("div", { class: "actions" }, button, ...more),
  );

  const show = (error) => {
    const wrong = fields.filter((field) => complaintOf(field, error));
    wrong.forEach((field) => field.complain(complaintOf(field, error)));
    if (wrong.length) {
      wrong[0].control.focus();
    } else {
      alert.textContent = explainError?.(error) || explain(error, amount);
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled") === "true") {
      return;
    }
    fields.forEach((field) => field.complain(""));
    alert.textContent = "";
    // A disabled button would lose the focus.
    button.setAttribute("aria-disabled", "true");
    try {
      requireAll(fields);
      await onSubmit(Object.fromEntries(fields.map(({ name, control }) => [name, control.value])));
    } catch (error) {
      show(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return form;
}

/** Something is wrong with one field, found before anything was sent. */
export class FieldError extends Error {
  /**
   * @param {string} field Its name.
   * @param {string} message A sentence.
   */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** A choice among options. */
export function createSelect(options, attributes = {}) {
  return html("select", attributes, ...options.map(([value, text]) => html("option", { value }, text)));
}

function requireAll(fields) {
  const empty = fields.find(({ control }) => control.required && !control.value.trim());
  if (empty) {
    throw new FieldError(empty.name, "Fill this in.");
  }
}

function complaintOf(field, error) {
  if (error.field === field.name) {
    return error.message;
  }
  return (error.violations ?? [])
    .filter((violation) => violation.field.split(".").at(-1) === field.name)
    .map(({ description }) => `It ${description}.`)
    .join(" ");
}
