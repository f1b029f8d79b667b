"use strict";
addEventListener("message", (event) => {
  const frame = document.getElementById("vs-clip");
  const height = event.data?.clipHeight;
  if (frame && event.source === frame.contentWindow && Number.isFinite(height)) {
    frame.style.height = `${Math.min(Math.max(height, 80), 20000)}px`;
  }
});
