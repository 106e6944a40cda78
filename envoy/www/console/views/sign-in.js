import { heading, html } from "../dom.js";
import { createField, createForm } from "../form.js";
import { Session } from "../session.js";

/** @param {import("../main.js").App} app */
export function signInView(app) {
  const username = createField({
    name: "username",
    label: "User name",
    attributes: { autocomplete: "username", autocapitalize: "none", spellcheck: "false" },
  });
  const password = createField({
    name: "password",
    label: "Password",
    attributes: { type: "password", autocomplete: "current-password" },
  });
  const form = createForm({
    label: "Sign in",
    fields: [username, password],
    submit: "Sign in",
    onSubmit: async (values) => {
      const session = await Session.signIn(values.username.trim(), values.password);
      try {
        await app.signedIn(session);
      } catch (error) {
        session.signOut();
        throw error;
      }
    },
  });
  const node = html(
    "section",
    { class: "card narrow" },
    heading("Sign in"),
    html("p", { class: "lead" }, "Your accounts, payments and orders."),
    form,
    html(
      "p",
      { class: "aside" },
      html("a", { href: "#/forgot-password" }, "Forgot your password?"),
      html("a", { href: "#/sign-up" }, "Open an account"),
    ),
  );
  return { title: "Sign in", node };
}
