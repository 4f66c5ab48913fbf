// Numbers, sizes and names as people read them.

import { locale, t } from "./strings.js";

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  const at = value < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(value) / 3));
  const scaled = value / 1000 ** at;
  return `${number(scaled, at > 1 && scaled < 100 ? 1 : 0)} ${units[at]}`;
}

export function seconds(value) {
  return new Intl.NumberFormat(locale(), { maximumSignificantDigits: value < 10 ? 2 : 3 }).format(value);
}

export function duration(value) {
  return value >= 5400
    ? t("hours", { count: number(Math.round(value / 3600)) })
    : t("minutes", { count: number(Math.max(1, Math.round(value / 60))) });
}

export const extension = (name) => (/\.([a-z0-9]{1,5})$/i.exec(name || "") || ["", ""])[1].toLowerCase();

// What a result is called when it is saved.
export function resultName(name, result, formats) {
  const stem = (name || "picture").replace(/\.[^.]*$/, "") || "picture";
  const kind = (formats || []).find((one) => one.name === result.format);
  const ending = kind ? kind.extension.replace(/^\./, "") : result.format;
  const factor = result.lr_width ? Math.round((result.width / result.lr_width) * 100) / 100 : 3;
  return `${stem}_x${factor}.${ending}`;
}
