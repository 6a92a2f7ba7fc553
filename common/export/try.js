// Runs the model.onnx beside it in a browser, with onnxruntime-web: see docs/export.md.
// try.html?classifier=DIR also asks the classifier that was exported to DIR what is drawn.

const DIRECTIONS = 6;
const find = (name) => document.querySelector(name);
const say = (text) => { find("#said").textContent = text; };

async function runtime() {
  const folder = new URL("node_modules/onnxruntime-web/dist/", location);
  const found = await import(new URL("ort.wasm.min.mjs", folder)).catch(() => {
    throw new Error("onnxruntime-web is not in this folder: run npm install onnxruntime-web in it.");
  });
  found.env.wasm.wasmPaths = folder.href;
  found.env.wasm.numThreads = 1; // more need headers that a plain server does not send
  return found;
}

async function open(ort, folder) {
  const read = async (name) => {
    const answer = await fetch(new URL(`${folder}/${name}`, location));
    if (!answer.ok) throw new Error(`There is no ${name} in ${folder}.`);
    return answer;
  };
  const facts = await (await read("model.json")).json();
  const program = new Uint8Array(await (await read("model.onnx")).arrayBuffer());
  const session = await ort.InferenceSession.create(program);
  const arrays = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
  return {
    facts,
    async run(values) { // of one example; returns its output
      const feeds = {};
      for (const [name, { shape, dtype }] of Object.entries(facts.inputs))
        feeds[name] = new ort.Tensor(dtype, arrays[dtype].from(values[name]), [1, ...shape.slice(1)]);
      return Object.values(await session.run(feeds))[0].data;
    },
  };
}

// Numbers drawn at random.

function normal() { // Box and Muller (1958)
  return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function drawn({ shape, meaning }) {
  const uniform = () => 2 * Math.random() - 1;
  const draw = meaning.startsWith("uniform") ? uniform : normal;
  return Float32Array.from({ length: shape.slice(1).reduce((a, b) => a * b, 1) }, draw);
}

function between(one, other, share, meaning) {
  if (meaning.startsWith("uniform")) return one.map((x, i) => (1 - share) * x + share * other[i]);
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const angle = Math.acos(dot(one, other) / Math.sqrt(dot(one, one) * dot(other, other)));
  const [a, b] = [Math.sin((1 - share) * angle), Math.sin(share * angle)];
  return one.map((x, i) => (a * x + b * other[i]) / Math.sin(angle)); // on the sphere: Shoemake (1985)
}

// Pictures.

function show(pixels, { size, channels }) { // of 0 to 255
  const canvas = find("#picture");
  canvas.width = canvas.height = size;
  const rgba = new Uint8ClampedArray(4 * size * size).fill(255);
  for (let i = 0; i < size * size; i++)
    for (let c = 0; c < 3; c++) rgba[4 * i + c] = pixels[channels * i + Math.min(c, channels - 1)];
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(new ImageData(rgba, size, size), 0, 0);
}

async function pixelsOf(source, { size, channels, fit }) { // of a file or a canvas
  const picture = await createImageBitmap(source);
  let [across, down] = [size / picture.width, size / picture.height];
  if (fit === "pad") across = down = Math.min(across, down);
  if (fit === "crop") across = down = Math.max(across, down);
  const [width, height] = [across * picture.width, down * picture.height];
  const context = new OffscreenCanvas(size, size).getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillRect(0, 0, size, size); // black, beside and behind it
  context.drawImage(picture, (size - width) / 2, (size - height) / 2, width, height);
  const { data } = context.getImageData(0, 0, size, size);
  const grey = (i) => Math.round(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]);
  return Uint8Array.from({ length: size * size * channels }, (_, i) =>
    channels === 1 ? grey(4 * i) : data[4 * Math.floor(i / channels) + (i % channels)]);
}

// What is asked.

async function ask(classifier, source) {
  const { classes, images } = classifier.facts;
  const shares = await classifier.run({ images: await pixelsOf(source, images) });
  const rows = classes.map((name, i) => {
    const row = document.createElement("div"), bar = document.createElement("div");
    const percent = (100 * shares[i]).toFixed(1);
    row.textContent = `${name}: ${percent} %`;
    for (const [key, value] of [["role", "meter"], ["aria-label", name], ["aria-valuenow", percent]])
      bar.setAttribute(key, value);
    bar.style.width = `${percent}%`;
    row.append(bar);
    return row;
  });
  find("#answer").replaceChildren(...rows);
}

async function asking(model) {
  const { images } = model.facts;
  find("#asking").hidden = false;
  find("#of_file input").addEventListener("change", async ({ target }) => {
    if (!target.files.length) return;
    try {
      show(await pixelsOf(target.files[0], images), images);
      await ask(model, target.files[0]);
    } catch (error) { say(`This picture can't be read: ${error.message}`); }
  });
  say(`A classifier of ${model.facts.classes.join(", ")}, trained on ${images.trained_on}.`);
}

function drawing(model, classifier) {
  const { inputs, images, classes } = model.facts, { latents } = inputs;
  const noise = Object.keys(inputs).filter((name) => name.startsWith("noise"));
  const ends = [drawn(latents), drawn(latents)];
  const grains = Object.fromEntries(noise.map((name) => [name, drawn(inputs[name])]));
  const directions = Array.from({ length: DIRECTIONS }, () => drawn(latents));
  let busy = false, again = false;

  async function draw() { // one picture at a time; of many wishes the last one counts
    if (busy) { again = true; return; }
    busy = true;
    const way = between(ends[0], ends[1], Number(find("#way").value), latents.meaning);
    const steps = [...document.querySelectorAll("#directions input")].map((x) => Number(x.value));
    const given = { ...grains, latents: way.map((x, i) => steps.reduce((z, s, k) => z + s * directions[k][i], x)) };
    if (inputs.labels) given.labels = [find("#of_class select").selectedIndex];
    const output = await model.run(given);
    show(output.map((x) => Math.round(127.5 * (x + 1))), images);
    if (classifier) await ask(classifier, find("#picture"));
    window.given = given; // what is shown was drawn from this
    busy = false;
    if (again) { again = false; await draw(); }
  }

  for (let k = 1; k <= DIRECTIONS; k++) {
    const label = document.createElement("label"), slider = document.createElement("input");
    Object.assign(slider, { type: "range", min: -1, max: 1, step: 0.05, value: 0 });
    label.append(`direction ${k}`, slider);
    find("#directions").append(label);
  }
  find("#of_class").hidden = !inputs.labels;
  for (const name of classes) find("#of_class select").add(new Option(name));
  for (const [end, name] of ["#here", "#there"].entries())
    find(name).addEventListener("click", () => {
      ends[end] = drawn(latents);
      find("#way").value = end;
      draw();
    });
  find("#drawing").addEventListener("input", draw);
  find("#drawing").hidden = false;
  if (classifier) [find("#asking").hidden, find("#of_file").hidden] = [false, true];
  say(`A generator that was trained on ${images.trained_on}.`);
  return draw();
}

try {
  const ort = await runtime();
  const place = new URLSearchParams(location.search).get("classifier");
  const model = await open(ort, ".");
  const { task, images } = model.facts;
  if (task === "gan") await drawing(model, place && (await open(ort, place)));
  else if (task === "classify" && !images.neighbours) await asking(model);
  else say("This page shows generators, and classifiers of single pictures.");
} catch (error) { say(error.message); }
