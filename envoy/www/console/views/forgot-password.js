import { callApi } from "../api.js";
import { heading, html } from "../dom.js";
import { createField, createForm } from "../form.js";

/** Ask for the mail whose link sets a new password; the answer never tells whether anybody has the address. */
export function forgotPasswordView() {
  const email = createField({
    name: "email",
    label: "E-mail",
    attributes: { type: "email", autocomplete: "email" },
  });
  const node = html("section", { class: "card narrow" });
  const form = createForm({
    label: "Set a new password",
    fields: [email],
    submit: "Send me a link",
    onSubmit: async (values) => {
      await callApi("POST", "/v1/users:requestPasswordReset", { body: values });
      const title = heading("Look at your mail");
      const text = `If ${values.email} belongs to somebody here, a link that sets a new password is on its way.`;
      node.replaceChildren(title, html("p", {}, text), html("a", { class: "button", href: "#/sign-in" }, "Sign in"));
      title.focus();
    },
  });
  node.append(
    heading("Set a new password"),
    html("p", { class: "lead" }, "We mail you a link that does it."),
    form,
    html("p", { class: "aside" }, html("a", { href: "#/sign-in" }, "Back")),
  );
  return { title: "Set a new password", node };
}
