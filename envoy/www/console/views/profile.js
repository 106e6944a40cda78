import { callApi } from "../api.js";
import { facts, heading, html, time } from "../dom.js";
import { notify } from "../notices.js";
import { explain } from "../refusals.js";

/**
 * Who is signed in, and whether others find them by name.
 *
 * @param {import("../main.js").App} app
 */
export function profileView(app) {
  const about = html("section", { class: "card" });
  const payable = html("input", {
    type: "checkbox",
    role: "switch",
    id: "payable",
    "aria-describedby": "payable-hint",
    on: { change: () => change() },
  });
  const change = async () => {
    const wanted = payable.checked;
    try {
      const body = { payable_by_name: wanted };
      const query = { update_mask: "payable_by_name" };
      app.user = (await app.session.call("PATCH", "/v1/users/me", { body, query })).user;
      notify(wanted ? "Others can pay you by your user name now." : "Nobody finds you by your user name now.", "good");
    } catch (error) {
      notify(explain(error), "bad");
    }
    payable.checked = app.user.payable_by_name;
  };
  const load = async () => {
    await app.reloadUser();
    const { full_name, username, email, email_verified, create_time } = app.user;
    payable.checked = app.user.payable_by_name;
    about.replaceChildren(
      facts([
        ["Name", full_name],
        ["User name", username],
        [
          "E-mail",
          html(
            "span",
            {},
            email,
            html(
              "span",
              { class: "chip", "data-tone": email_verified ? "good" : "bad" },
              email_verified ? "Proven" : "Not proven",
            ),
          ),
        ],
        ["Here since", time(create_time, { dateStyle: "long" })],
      ]),
    );
  };
  const hint = "Whoever knows your user name sees your initials and the account they can pay into. Nothing else.";
  const node = html(
    "div",
    { class: "stack" },
    heading("Profile"),
    about,
    html(
      "section",
      { class: "card switch" },
      html(
        "div",
        {},
        html("label", { for: "payable" }, "Take payments by user name"),
        html("p", { class: "hint", id: "payable-hint" }, hint),
      ),
      payable,
    ),
  );
  return { title: "Profile", node, load, concerns: (event) => event.type.startsWith("user.") };
}

/**
 * Stands above every view until the address is proven.
 *
 * @param {import("../main.js").App} app
 */
export function verifyBanner(app) {
  const { email } = app.user;
  const again = html("button", { type: "button", class: "quiet" }, "Send it again");
  again.addEventListener("click", async () => {
    try {
      await callApi("POST", "/v1/users:resendVerificationEmail", { body: { email } });
      notify(`Another link is on its way to ${email}.`);
    } catch (error) {
      notify(explain(error), "bad");
    }
  });
  const text = `Open the link in the mail to ${email}: until then you can be paid, but not pay.`;
  return html("aside", { class: "banner", "aria-label": "E-mail not proven" }, html("p", {}, text), again);
}
