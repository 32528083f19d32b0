// Shows the token to the agent, which keeps it in a cookie that no script reads.
"use strict";

document.getElementById("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const told = document.getElementById("told");
  told.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json", "x-lamplighter": "page" },
      body: JSON.stringify({ token: document.getElementById("token").value }),
    });
    if (answer.ok) {
      location.reload();
      return;
    }
    told.textContent = (await answer.json()).text;
  } catch {
    told.textContent = "The agent does not answer.";
  }
});
