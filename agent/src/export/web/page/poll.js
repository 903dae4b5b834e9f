// Asks the agent every two seconds while the page is seen. One question at a time.

const EVERY_MS = 2000;
const PATIENCE_MS = 5000;

/**
 * parameters() gives the question; answer(overview) and failed(words) hear of it. A call of the function that comes back
 * asks at once.
 */
export function poll(parameters, answer, failed) {
  let timer = 0;
  let asking = null;

  async function ask() {
    clearTimeout(timer);
    asking?.abort();
    if (document.hidden) return;
    const mine = new AbortController();
    asking = mine;
    const late = setTimeout(() => mine.abort("late"), PATIENCE_MS);
    try {
      const response = await fetch(`/api/v1/overview?${parameters()}`, { cache: "no-store", signal: mine.signal });
      const overview = await response.json();
      if (asking !== mine) return;
      if (response.ok) answer(overview);
      else failed(`it answers ${response.status}: ${overview.error}`, response.status);
    } catch (error) {
      if (asking !== mine) return;
      failed(mine.signal.aborted ? `it took longer than ${PATIENCE_MS / 1000} s` : "no connection", 0);
    } finally {
      clearTimeout(late);
      if (asking === mine) timer = setTimeout(ask, EVERY_MS);
    }
  }

  document.addEventListener("visibilitychange", ask);
  ask();
  return ask;
}
