// A box that scrolls sideways must be reachable with the keyboard; one that does not must not be in the way.
(() => {
  const boxes = ".bd-article :is(.cb-scroll, .cell_output, div.math, mjx-container, pre)";
  const update = () => {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  window.addEventListener("load", async () => {
    if (window.MathJax?.startup) await window.MathJax.startup.promise;
    update();
    window.addEventListener("resize", update);
  });
})();
