// The token travels in the fragment, which browsers never send, and leaves the address bar and the
// history before anything else happens.
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";
history.replaceState(null, "", location.pathname);

const outcome = document.getElementById("outcome");
const again = document.getElementById("again");

function show(state, text) {
  outcome.dataset.state = state;
  outcome.textContent = text;
  // Only a failure that may pass is worth a second try with the same token.
  again.hidden = state !== "unavailable";
}

async function verify() {
  show("waiting", "Checking the link…");
  try {
    const response = await fetch("/v1/users:verifyEmail", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    const answer = await response.json();
    if (response.ok) {
      show("verified", `${answer.user.email} is verified. You can close this page.`);
    } else if (response.status >= 500) {
      show("unavailable", "The service cannot answer just now.");
    } else {
      show("failed", `The address could not be verified: ${answer.message}`);
    }
  } catch {
    show("unavailable", "The service cannot be reached.");
  }
}

again.querySelector("button").addEventListener("click", verify);
if (token) {
  verify();
} else {
  show("failed", "This link is incomplete. Open it again from the e-mail, in full.");
}
