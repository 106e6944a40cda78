// The token travels in the fragment, which browsers never send, and leaves the address bar and the
// history before anything else happens.
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
history.replaceState(null, "", location.pathname);

const form = document.getElementById("reset");
const password = document.getElementById("password");
const shown = document.getElementById("shown");
const button = form.querySelector("button");
const outcome = document.getElementById("outcome");

function show(state, text) {
  outcome.dataset.state = state;
  outcome.textContent = text;
}

function finish(state, text) {
  password.value = "";
  form.hidden = true;
  show(state, text);
}

// What is wrong with the password, if that is what the service refuses; the link is still good then.
function violations(answer) {
  const request = answer.details.find((detail) => detail["@type"].endsWith("/google.rpc.BadRequest"));
  return request?.field_violations.map(({ description }) => `The password ${description}.`).join(" ");
}

async function reset() {
  show("waiting", "Setting the password…");
  try {
    const response = await fetch("/v1/users:resetPassword", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token, new_password: password.value }),
    });
    if (response.ok) {
      finish("done", "The password is set, and you are signed out everywhere. You can close this page.");
      return;
    }
    const answer = await response.json();
    const wrong = violations(answer);
    if (wrong) {
      show("failed", wrong);
      password.focus();
    } else if (response.status >= 500 || response.status === 429) {
      show("unavailable", "The service cannot answer just now. Try again in a moment.");
    } else {
      finish("failed", `The password could not be set: ${answer.message}`);
    }
  } catch {
    show("unavailable", "The service cannot be reached. Try again in a moment.");
  }
}

shown.addEventListener("change", () => {
  password.type = shown.checked ? "text" : "password";
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  await reset();
  button.disabled = false;
});
if (token) {
  form.hidden = false;
} else {
  show("failed", "This link is incomplete. Open it again from the e-mail, in full.");
}
