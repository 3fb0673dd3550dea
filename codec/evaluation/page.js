"use strict";
// One viewer per card. Its state is a divider, a zoom and a place. It is written into CSS variables
// that all panes share. Places are fractions of a pane, so panes of any size show the same part.
for (const card of document.querySelectorAll(".card")) {
  const stage = card.querySelector(".stage");
  const divider = card.querySelector(".divider");
  const panes = [...card.querySelectorAll(".pane")];
  const rows = [...card.querySelectorAll("tbody tr")];
  const selects = { left: card.querySelector("[data-side=left]"), right: card.querySelector("[data-side=right]") };
  const state = { left: 0, right: Math.min(1, panes.length - 1), split: 0.5, zoom: 1, x: 0, y: 0, grid: false };
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function show() {
    for (const [index, pane] of panes.entries()) {
      pane.classList.toggle("left", index === state.left);
      pane.classList.toggle("right", index === state.right);
      rows[index].classList.toggle("shown", state.grid || index === state.left || index === state.right);
    }
    selects.left.value = state.left;
    selects.right.value = state.right;
    stage.classList.toggle("grid", state.grid);
    stage.classList.toggle("zoomed", state.zoom > 1);
    stage.tabIndex = state.grid ? 0 : -1;
    for (const name of ["split", "zoom", "x", "y"]) stage.style.setProperty(`--${name}`, state[name]);
    divider.setAttribute("aria-valuenow", Math.round(state.split * 100));
    card.querySelector("[data-do=grid]").setAttribute("aria-pressed", state.grid);
    const natural = (panes[state.left].clientWidth * state.zoom) / card.style.getPropertyValue("--width");
    stage.classList.toggle("pixels", natural >= 2);
    card.querySelector("output").textContent = `${Math.round(natural * 100)} %`;
  }

  function zoomTo(zoom, px = 0.5, py = 0.5) {
    zoom = clamp(zoom, 1, 32);
    move(px - ((px - state.x) * zoom) / state.zoom, py - ((py - state.y) * zoom) / state.zoom, zoom);
  }

  function move(x, y, zoom = state.zoom) {
    state.zoom = zoom;
    state.x = clamp(x, 1 - zoom, 0);
    state.y = clamp(y, 1 - zoom, 0);
    show();
  }

  function split(value) {
    state.split = clamp(value, 0, 1);
    show();
  }

  const actions = {
    in: () => zoomTo(state.zoom * 1.5),
    out: () => zoomTo(state.zoom / 1.5),
    fit: () => zoomTo(1),
    swap: () => { [state.left, state.right] = [state.right, state.left]; show(); },
    grid: () => {
      const focused = stage.contains(document.activeElement); // the divider disappears, but its keys still work
      state.grid = !state.grid;
      show();
      if (focused) (state.grid ? stage : divider).focus({ preventScroll: true });
    },
  };

  function key(event) {
    if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 0.1;
    const pan = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    const plain = {
      ArrowLeft: () => split(state.split - 0.02),
      ArrowRight: () => split(state.split + 0.02),
      Home: () => split(0),
      End: () => split(1),
      "+": actions.in, "=": actions.in, "-": actions.out, "−": actions.out, 0: actions.fit,
      x: actions.swap, s: actions.grid,
    };
    if (event.shiftKey && pan) move(state.x + pan[0], state.y + pan[1]);
    else if (/^[1-9]$/.test(event.key)) {
      if (event.key > panes.length) return;
      state.right = event.key - 1;
      show();
    } else if (plain[event.key] || plain[event.key.toLowerCase()]) (plain[event.key] || plain[event.key.toLowerCase()])();
    else return;
    event.preventDefault();
  }

  // The position of the pointer as a fraction of the pane below it.
  function place(event) {
    const pane = (state.grid && event.target.closest(".pane")) || panes[state.left];
    const box = pane.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, box];
  }

  function drag(event) {
    if (event.button !== 0 || !event.isPrimary) return;
    // A finger on the picture scrolls the page, or pans when zoomed. On the divider it slides.
    if (event.pointerType === "touch" && event.target !== divider && state.zoom === 1) return;
    const [startX, startY, box] = place(event);
    const from = { x: state.x, y: state.y };
    const slides = !state.grid && (event.target === divider || state.zoom === 1);
    (state.grid ? stage : divider).focus({ preventScroll: true });
    event.preventDefault();
    if (slides) split(startX);
    stage.setPointerCapture(event.pointerId);
    const moved = (now) => {
      if (now.pointerId !== event.pointerId) return;
      const x = (now.clientX - box.left) / box.width;
      const y = (now.clientY - box.top) / box.height;
      if (slides) split(x);
      else move(from.x + x - startX, from.y + y - startY);
    };
    stage.addEventListener("pointermove", moved);
    const ended = (now) => {
      if (now.pointerId !== event.pointerId) return;
      stage.removeEventListener("pointermove", moved);
      stage.removeEventListener("pointerup", ended);
      stage.removeEventListener("pointercancel", ended);
    };
    stage.addEventListener("pointerup", ended);
    stage.addEventListener("pointercancel", ended);
  }

  function wheel(event) {
    if (!event.ctrlKey && !card.contains(document.activeElement)) return; // the page scrolls instead
    if (!event.ctrlKey && state.zoom === 1 && event.deltaY > 0) return; // nothing to zoom out of
    event.preventDefault();
    const [x, y] = place(event);
    zoomTo(state.zoom * Math.exp(-event.deltaY / 300), x, y);
  }

  card.addEventListener("keydown", key);
  stage.addEventListener("pointerdown", drag);
  stage.addEventListener("wheel", wheel, { passive: false });
  for (const button of card.querySelectorAll("[data-do]")) button.addEventListener("click", actions[button.dataset.do]);
  for (const [side, select] of Object.entries(selects)) {
    select.addEventListener("change", () => { state[side] = Number(select.value); show(); });
  }
  for (const [index, row] of rows.entries()) row.addEventListener("click", () => { state.right = index; show(); });
  new ResizeObserver(show).observe(stage);
  show();
}
