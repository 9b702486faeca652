// Shows the page anew every two seconds while somebody looks; without this, reloading does the same.
"use strict";
const state = document.getElementById("state");
let open = false;
async function renew() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const details = document.querySelector("main details");
    open = details ? details.open : open;
    const main = page.querySelector("main");
    if (main.querySelector("details")) main.querySelector("details").open = open;
    document.querySelector("main").replaceWith(document.importNode(main, true));
    document.getElementById("since").textContent = page.getElementById("since").textContent;
    state.textContent = "live";
    state.className = "";
  } catch {
    state.textContent = "the server does not answer";
    state.className = "bad";
  }
}
state.textContent = "live";
setInterval(renew, 2000);
