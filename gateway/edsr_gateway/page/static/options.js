// The options for the next pictures: a form, remembered in this browser.

import { t } from "./strings.js";

const REMEMBERED = "edsr-options";
const form = document.getElementById("options-form");
const sideField = document.getElementById("side-field");
const summary = document.getElementById("options-summary");
let known = { models: [], formats: { out: [] } };
let saved = {};

try {
  saved = JSON.parse(localStorage.getItem(REMEMBERED) || "{}") || {};
} catch {
  // Damaged or forbidden: the defaults.
}

const field = (name) => form.elements[name];
export const networkScale = () => known.models[0]?.scale || 3;

function choose(select, choices) {
  const before = select.value || saved[select.name] || "";
  select.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
  // What this server does not have cannot stay chosen.
  select.value = choices.some(([value]) => value === before) ? before : choices[0][0];
}

// Draws the choices in the language of the page.
export function drawOptions() {
  const formats = known.formats.out.map((one) => [one.name, one.name.toUpperCase().replace("WEBP", "WebP")]);
  choose(field("format"), [["", t("formatAutomatic")], ...formats]);
  choose(field("model"), [["", t("modelAutomatic")], ...known.models.map((one) => [one.name, one.name])]);
  const scale = networkScale();
  const sizes = [["", t("sizeNetwork", { scale })], ["2", "×2"], ["4", t("sizeFour", { scale })], ["side", t("sizeSide")]];
  choose(field("size"), sizes.filter(([value]) => value !== String(scale)));
  update();
}

function values() {
  return Object.fromEntries(new FormData(form));
}

function update() {
  const { format, quality, size, side, metadata, model, ensemble } = values();
  sideField.hidden = size !== "side";
  const kind = known.formats.out.find((one) => one.name === format);
  // A quality makes no sense where nothing is lost.
  field("quality").disabled = Boolean(kind && !kind.lossy);
  const parts = [
    format && field("format").selectedOptions[0].text,
    quality && t("qualitySummary", { quality }),
    size === "side" ? side && t("sideSummary", { side }) : size && `×${size}`,
    metadata === "strip" && t("stripSummary"),
    model,
    ensemble && t("ensembleSummary"),
  ];
  summary.textContent = parts.filter(Boolean).join(" · ");
}

// The fields of a request; nothing for what the server decides by itself.
export function requestFields() {
  const { format, quality, size, side, metadata, model, ensemble } = values();
  const fields = { metadata, format, quality, model, self_ensemble: ensemble };
  if (size === "side") fields.max_side = side;
  else if (size) fields.scale = size;
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value));
}

export function offer(information) {
  known = information;
  drawOptions();
}

form.addEventListener("input", () => {
  update();
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(values()));
  } catch {
    // They are then forgotten with the page.
  }
});
form.addEventListener("submit", (event) => event.preventDefault());

for (const name of ["quality", "side", "metadata", "ensemble"]) if (saved[name]) field(name).value = saved[name];
if (!field("metadata").value) field("metadata").value = "keep";
