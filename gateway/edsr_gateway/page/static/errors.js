// What went wrong, in plain words: by the status of the gateway's answer and its members.

import { bytes, number } from "./format.js";
import { has, t } from "./strings.js";

// Which limit a 413 speaks of: the gateway names it, its value and, where it knows, what came. "" where it does not.
function tooLarge(body) {
  const unit = ["pixels", "frames", "bytes"].find((one) => body[`limit_${one}`] > 0);
  if (!unit) return "";
  const said = { pixels: (value) => number(value / 1e6, 1), frames: number, bytes }[unit];
  const [limit, got] = [body[`limit_${unit}`], body[unit]];
  const full = { pixels: "advice413Pixels", frames: "advice413Frames", bytes: "advice413Bytes" }[unit];
  const short = { pixels: "advice413PixelLimit", frames: "advice413Frames", bytes: "advice413Limit" }[unit];
  return t(got > 0 ? full : short, { limit: said(limit), got: got > 0 ? said(got) : "" });
}

// { title, advice, detail }: detail is the gateway's own sentence, in English.
export function words(problem) {
  if (problem.kind) return { title: t(`error${problem.kind}`), advice: t(`advice${problem.kind}`), detail: "" };
  const status = problem.status || 0;
  const detail = (problem.body && problem.body.detail) || "";
  if (status === 0) return { title: t("errorNetwork"), advice: t("adviceNetwork"), detail: "" };
  if (status === 413) {
    const limit = tooLarge(problem.body || {});
    return { title: t("error413"), advice: [limit, t("advice413")].join(" "), detail: limit ? "" : detail };
  }
  const known = { 410: 404, 502: 503, 405: 404 }[status] || status;
  const name = has(`error${known}`) ? known : "Other";
  return { title: t(`error${name}`), advice: t(`advice${name}`), detail };
}
