"use strict";
(() => {
  const player = document.getElementById("player");
  if (!player) return;
  const sound = document.getElementById("player-sound");
  const now = document.getElementById("now");
  const offset = Number(player.dataset.offset);
  const end = Number(player.dataset.end);
  const drawings = [...document.querySelectorAll("svg[data-left]")];
  const words = [...document.querySelectorAll("button[data-from]")];

  const show = () => {
    const time = player.currentTime - offset;
    now.textContent = `${Math.max(time, 0).toFixed(1)} s`;
    for (const svg of drawings) {
      const x = Number(svg.dataset.left) + Math.min(Math.max(time, 0), end) * Number(svg.dataset.pixels);
      const line = svg.querySelector(".playhead");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
    for (const word of words) {
      const spoken = time >= Number(word.dataset.from) && time < Number(word.dataset.to);
      word.classList.toggle("spoken", spoken);
    }
    if (time >= end && !player.paused) player.pause();
  };
  const go = (time) => {
    player.currentTime = offset + Math.min(Math.max(time, 0), end);
    show();
  };
  const follow = () => {
    show();
    if (!player.paused && !player.ended) requestAnimationFrame(follow);
  };

  player.addEventListener("loadedmetadata", () => { if (offset) go(0); else show(); });
  for (const name of ["seeked", "timeupdate"]) player.addEventListener(name, show);
  player.addEventListener("play", follow);
  if (sound) {
    const together = () => { sound.currentTime = Math.max(player.currentTime, 0); };
    player.addEventListener("play", () => { together(); sound.play(); });
    player.addEventListener("pause", () => sound.pause());
    player.addEventListener("seeked", together);
  }
  const failed = () => {
    document.getElementById("unplayable").hidden = false;
    player.hidden = true;
  };
  player.addEventListener("error", failed);
  if (player.error) failed();

  for (const svg of drawings) {
    svg.addEventListener("click", (event) => {
      const box = svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const time = (x - Number(svg.dataset.left)) / Number(svg.dataset.pixels);
      if (time >= 0 && time <= end) go(time);
    });
  }
  for (const word of words) word.addEventListener("click", () => go(Number(word.dataset.from)));
  show();
})();
