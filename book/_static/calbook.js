// A box that scrolls sideways must be reachable with the keyboard; one that does not must not be in the way.
// While there is more of it to the right, its edge fades: a formula that is cut off must not look complete.
(() => {
  const boxes = ".bd-article :is(.cb-scroll, .cell_output, div.math, mjx-container, pre)";
  const fade = (box) => {
    box.classList.toggle("cb-more", box.tabIndex === 0 && box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  };
  const update = () => {
    for (const box of document.querySelectorAll(boxes)) {
      const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
      fade(box);
    }
  };
  document.addEventListener("scroll", (event) => event.target.tabIndex === 0 && fade(event.target), true);
  window.addEventListener("load", async () => {
    if (window.MathJax?.startup) await window.MathJax.startup.promise;
    update();
    window.addEventListener("resize", update);
  });
})();
