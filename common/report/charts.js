// What the charts and the series of pictures of a page do beyond standing still.
"use strict";
(() => {
  const make = (name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const short = (value, digits = 4) => String(Number(value.toPrecision(digits)));
  // In as few digits as tell them apart.
  const labels = (values) => [4, 6, 8, 17].map((digits) => values.map((x) => short(x, digits)))
    .find((names) => new Set(names).size === names.length) || values.map(String);

  // Round numbers within a range: steps of 1, 2 or 5 times a power of ten.
  const ticks = (low, high) => {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((times) => times * power).find((s) => s >= rough * 0.999);
    const found = [];
    for (let n = Math.ceil(low / step); n <= Math.floor(high / step); n++) found.push(n * step);
    return found;
  };
  const powers = (low, high) => {
    const found = [];
    for (let n = Math.ceil(low); n <= Math.floor(high); n++) found.push(n);
    return found.length > 1 ? found : ticks(low, high);
  };

  // An exponential mean, of which the first values count fully (as Adam's).
  const smoothed = (points, weight) => {
    let mean = 0, share = 1;
    return points.map(([step, value]) => {
      mean = weight * mean + (1 - weight) * value;
      share *= weight;
      return [step, mean / (1 - share)];
    });
  };

  class Chart {
    constructor(svg) {
      this.svg = svg;
      this.series = JSON.parse(svg.dataset.points);
      [this.left, this.top, this.right, this.bottom] = svg.dataset.box.split(" ").map(Number);
      this.readout = svg.parentNode.querySelector(".readout");
      const steps = this.series.flat().map((point) => point[0]);
      this.steps = [Math.min(...steps), Math.max(...steps)];
      svg.addEventListener("pointermove", (event) => this.tell(this.stepAt(event)));
      svg.addEventListener("pointerleave", () => { this.readout.textContent = ""; });
    }

    draw({ from, to, smoothing, log }) {
      this.range = from < to ? [from, to] : [from - 1, to + 1];
      this.height = log ? Math.log10 : (value) => value;
      const inside = ([step, value]) => step >= from && step <= to && !(log && value <= 0);
      this.shown = this.series.map((points) => smoothed(points, smoothing).filter(inside));
      const raw = this.series.map((points) => (smoothing ? points.filter(inside) : []));
      const heights = [...this.shown, ...raw].flat().map((point) => this.height(point[1]));
      const [low, high] = [Math.min(...heights), Math.max(...heights)];
      if (low < high) this.heights = [low, high];
      else this.heights = heights.length ? [low - 1, high + 1] : [0, 1];
      this.svg.replaceChildren(
        this.axes(log),
        ...raw.map((points, place) => this.curve(points, `raw colour${place % 8}`)),
        ...this.shown.map((points, place) => this.curve(points, `colour${place % 8}`)));
    }

    x(step) {
      const [first, last] = this.range;
      return this.left + (step - first) / (last - first) * (this.right - this.left);
    }

    y(height) {
      const [low, high] = this.heights;
      return this.bottom - (height - low) / (high - low) * (this.bottom - this.top);
    }

    axes(log) {
      const axes = make("g", { class: "axes" });
      const marks = log ? powers(...this.heights) : ticks(...this.heights);
      const names = labels(log ? marks.map((mark) => 10 ** mark) : marks);
      for (const [place, mark] of marks.entries()) {
        const y = this.y(mark);
        axes.append(
          make("line", { x1: this.left, x2: this.right, y1: y, y2: y }),
          make("text", { x: this.left - 5, y: y + 4, "text-anchor": "end" }, names[place]));
      }
      const steps = ticks(...this.range), numbers = labels(steps);
      for (const [place, step] of steps.entries()) {
        const anchor = this.x(step) < this.right - 16 ? "middle" : "end";
        const where = { x: this.x(step), y: this.bottom + 16, "text-anchor": anchor };
        axes.append(make("text", where, numbers[place]));
      }
      return axes;
    }

    // A single value is a point.
    curve(points, name) {
      const places = points.map(([step, value]) =>
        [this.x(step).toFixed(1), this.y(this.height(value)).toFixed(1)]);
      if (places.length === 1)
        return make("circle", { class: name, cx: places[0][0], cy: places[0][1], r: 3.5 });
      const path = places.map((place) => place.join(" ")).join("L");
      return make("path", { class: name, d: path && `M${path}` });
    }

    stepAt(event) {
      const box = this.svg.getBoundingClientRect();
      const across = (event.clientX - box.left) / box.width * this.svg.viewBox.baseVal.width;
      const share = Math.min(1, Math.max(0, (across - this.left) / (this.right - this.left)));
      return this.range[0] + share * (this.range[1] - this.range[0]);
    }

    tell(step) {
      const names = [...this.svg.parentNode.querySelectorAll(".key")].map((key) => key.textContent);
      const near = (points) => points.reduce((best, point) =>
        (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
      this.readout.textContent = this.shown
        .map((points, place) => [names[place], points])
        .filter(([, points]) => points.length)
        .map(([name, points]) => `${name} ${short(near(points)[1])} at ${near(points)[0]}`)
        .join(", ");
    }
  }

  const charts = [...document.querySelectorAll(".chart svg")].map((svg) => new Chart(svg));
  const controls = document.querySelector(".controls");
  if (charts.length && controls) {
    const first = Math.min(...charts.map((chart) => chart.steps[0]));
    const last = Math.max(...charts.map((chart) => chart.steps[1]));
    const inputs = controls.elements;
    const draw = () => {
      const step = (name) => first + (last - first) * Number(inputs[name].value) / 1000;
      const [from, to] = [step("from"), step("to")].sort((a, b) => a - b);
      for (const name of ["from", "to"])
        inputs[name].setAttribute("aria-valuetext", `step ${Math.round(step(name))}`);
      const smoothing = Number(inputs.smoothing.value), log = inputs.log.checked;
      for (const chart of charts) chart.draw({ from, to, smoothing, log });
    };
    const zoom = (steps) => {
      const [from, to] = steps.sort((a, b) => a - b);
      const share = (step) => 1000 * (step - first) / (last - first);
      if (share(to) - share(from) < 5) return;
      [inputs.from.value, inputs.to.value] = [Math.floor(share(from)), Math.ceil(share(to))];
      draw();
    };
    for (const chart of charts) {
      let start = null;
      chart.svg.addEventListener("pointerdown", (event) => { start = chart.stepAt(event); });
      chart.svg.addEventListener("pointerup", (event) => {
        if (start !== null) zoom([start, chart.stepAt(event)]);
        start = null;
      });
    }
    controls.addEventListener("input", draw);
    controls.addEventListener("reset", () => setTimeout(draw));
    controls.addEventListener("submit", (event) => event.preventDefault());
    controls.hidden = false;
    draw();
  }

  // One picture of a series at a time, chosen by a slider.
  for (const series of document.querySelectorAll(".series")) {
    const pictures = [...series.querySelectorAll("figure")];
    const slider = series.querySelector("input");
    const show = () => pictures.forEach((picture, place) => {
      picture.hidden = place !== Number(slider.value);
      if (!picture.hidden)
        slider.setAttribute("aria-valuetext", picture.querySelector("figcaption").textContent);
    });
    slider.addEventListener("input", show);
    slider.parentNode.hidden = false;
    series.classList.add("live");
    show();
  }
})();
