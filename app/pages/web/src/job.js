// A job's page follows the job: parts of it marked data-live are taken anew from the service.
const PROGRESS_S = 2;
const PAUSE_MS = 500;
const RETRY_MS = 5000;

const followed = document.querySelector("[data-follow]");
if (followed) follow(followed.dataset.follow);

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Until the job is over, as long as somebody can see the page. `job` is its address in UWS, where
 * WAIT holds the answer until the phase changes; progress is looked at every two seconds. */
async function follow(job) {
  let isOver = false;
  while (!isOver) {
    if (document.hidden) await whenSeen();
    try {
      await fetch(`${job}?WAIT=${PROGRESS_S}`);
      isOver = await refresh();
      await pause(PAUSE_MS);
    } catch {
      await pause(RETRY_MS); // the service or the network is away: it may come back
    }
  }
}

function whenSeen() {
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}

/** Take over what has changed; whether the job is over. Unchanged parts are left alone, and with
 * them the focus, and what a screen reader has said already. */
async function refresh() {
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const parts = page.querySelectorAll("[data-live]");
  if (!answer.ok || !parts.length) throw new Error(`status ${answer.status}`);
  for (const part of parts) {
    const shown = document.querySelector(`[data-live="${part.dataset.live}"]`);
    if (shown.innerHTML === part.innerHTML) continue;
    const hadFocus = shown.contains(document.activeElement);
    shown.replaceChildren(...part.childNodes);
    if (hadFocus) document.querySelector("[data-live=phase]").focus();
  }
  return !page.querySelector("[data-follow]");
}
