"use strict";
(() => {
  document.documentElement.style.overflow = "hidden"; // the page around gives the frame the height that it asks for
  const tell = () => parent.postMessage({ clipHeight: Math.ceil(document.body.getBoundingClientRect().height) }, "*");
  new ResizeObserver(tell).observe(document.body);
})();
