import { callApi } from "../api.js";
import { heading, html } from "../dom.js";
import { createField, createForm } from "../form.js";

/** Sign up; then the mailed link has to be opened. */
export function signUpView() {
  const fields = [
    createField({ name: "full_name", label: "Your name", attributes: { autocomplete: "name", maxlength: 100 } }),
    createField({
      name: "username",
      label: "User name",
      hint: "3 to 32 letters, digits, _ or -, beginning with a letter. Others see it.",
      attributes: { autocomplete: "username", autocapitalize: "none", spellcheck: "false" },
    }),
    createField({ name: "email", label: "E-mail", attributes: { type: "email", autocomplete: "email" } }),
    createField({
      name: "password",
      label: "Password",
      hint: "At least 15 characters; a few words that only you would put together do well.",
      attributes: { type: "password", autocomplete: "new-password" },
    }),
  ];
  const node = html("section", { class: "card narrow" });
  const form = createForm({
    label: "Open an account",
    fields,
    submit: "Sign up",
    onSubmit: async (values) => {
      const { user } = await callApi("POST", "/v1/users", { body: values });
      const title = heading("Look at your mail");
      const text = `A link is on its way to ${user.email}. Open it to prove that the address is yours, then sign in.`;
      node.replaceChildren(title, html("p", {}, text), html("a", { class: "button", href: "#/sign-in" }, "Sign in"));
      title.focus();
    },
  });
  node.append(
    heading("Open an account"),
    form,
    html("p", { class: "aside" }, "You have one? ", html("a", { href: "#/sign-in" }, "Sign in")),
  );
  return { title: "Open an account", node };
}
