import { html } from "./dom.js";

const SHOWN_MS = 7_000;
const SHOWN_AT_ONCE = 3;

/**
 * Tell of something without moving the focus: shown for some seconds, and read out politely.
 *
 * @param {string} text
 * @param {"news" | "good" | "bad"} [tone]
 */
export function notify(text, tone = "news") {
  const notice = html("p", { class: "notice", "data-tone": tone }, text);
  const notices = document.getElementById("notices");
  if (notices.children.length === SHOWN_AT_ONCE) {
    notices.firstElementChild.remove();
  }
  notices.append(notice);
  setTimeout(() => notice.remove(), SHOWN_MS);
}
