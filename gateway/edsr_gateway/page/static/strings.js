// Every word of the page, in both languages. Values in braces are filled in.

const en = {
  title: "EDSR ×3: enlarge pictures",
  language: "Language",
  lead: "Pictures three times as large, and still sharp.",
  stage: "Picture",
  dropHere: "Drop pictures here",
  choose: "Choose pictures",
  orPaste: "or paste one with Ctrl+V",
  trySample: "Try this one",
  sampleSize: "180 × 142 pixels",
  dropNow: "Let go to upscale",
  nothingDropped: "There was no file in it. Drop picture files, or choose them.",
  notReady: "The upscaling server is not ready yet. Pictures wait until it is.",

  progress: "Progress",
  cancel: "Cancel",
  hurry: "Try now",
  waiting: "Waiting for the pictures before it",
  uploading: "Uploading",
  queued: "Waiting for a free place on the server",
  standing: "The upscaling server does not answer. The picture waits until it does",
  working: "Upscaling",
  receiving: "Fetching the result",
  held: "The server is busy. Trying again in {seconds} s",
  lost: "No connection. Trying again",
  tiles: "Tile {done} of {total}",
  frames: "Frame {done} of {total}",
  framesOnly: "Frame {done}",
  bytesOf: "{done} of {total}",

  retry: "Try again",
  remove: "Remove",
  removeNamed: "Remove {name}",
  cancelledTitle: "Cancelled",
  cancelledAdvice: "Nothing of this picture was kept on the server.",

  keyTitle: "This server asks for an API key",
  keyAdvice: "Whoever runs it can give you one. It stays in this tab and is forgotten when you close it.",
  keyLabel: "API key",
  keyUse: "Use key",
  keyWrong: "The server does not accept this key.",

  viewport: "Comparison. Plus and minus zoom, 0 shows all, 1 shows single pixels, arrow keys move the picture.",
  slider: "Divider between the two pictures",
  sliderValue: "{before} {share} percent",
  compareWith: "Compare EDSR with",
  bicubic: "Bicubic",
  smoothed: "Browser’s smoothing",
  computing: "Bicubic is being computed",
  edsr: "EDSR",
  edsrOnly: "EDSR only",
  pixels: "Original pixels",
  zoom: "Zoom",
  zoomIn: "Zoom in",
  zoomOut: "Zoom out",
  zoomOne: "One to one, pixel by pixel",
  zoomFit: "Fit",
  download: "Download",
  downloadAll: "Download all as ZIP",
  packing: "Packing {percent}%",
  strip: "Your pictures",
  add: "Add pictures",

  factSizes: "{width} × {height} from {lrWidth} × {lrHeight}",
  factTime: "{seconds} s",
  tooLargeForBicubic: "Too large to compute bicubic in the browser: compared with the browser’s own smoothing instead.",
  movingForBicubic: "It moves: compared with the browser’s own smoothing instead of bicubic.",
  originalGone: "The original is no longer in this browser, so there is nothing to compare with.",
  originalUnseen: "This browser cannot show {kind} files, so there is nothing to compare with.",
  madeAsPng: "The result is a PNG, because this browser cannot show {kind} files. The options can change that.",
  unseenTitle: "The result is ready",
  unseenKind: "This browser cannot show {kind} files. Download it to see it.",
  unseenLarge: "It is too large to be shown here. Download it to see it.",
  bicubicHow: "Bicubic: Keys’ kernel with a = −0.5, as in Pillow and MATLAB, computed in this browser",

  options: "Options",
  format: "Format",
  automatic: "automatic",
  formatAutomatic: "Same as the original",
  quality: "Quality (0–100)",
  size: "Size",
  sizeNetwork: "×{scale}",
  sizeFour: "×4 (×{scale}, then enlarged)",
  sizeSide: "Longest side …",
  side: "Longest side in pixels",
  metadata: "Metadata",
  metadataKeep: "Keep",
  metadataStrip: "Remove (place, camera, date)",
  model: "Model",
  modelAutomatic: "Automatic",
  optionsHint: "For the next pictures.",
  again: "Do this picture again with these options",
  sideSummary: "{side} px",
  stripSummary: "no metadata",
  qualitySummary: "quality {quality}",

  keeping: "Pictures go to this server and nowhere else. It deletes them after {time}, or when you remove them here.",
  hours: "{count} hours",
  minutes: "{count} minutes",
  api: "API",

  saysUploading: "{name}: uploading",
  saysWorking: "{name}: upscaling",
  saysDone: "{name}: ready, {width} by {height} pixels",
  saysCancelled: "{name}: cancelled",
  saysHeld: "{name}: the server is busy, trying again in {seconds} seconds",
  saysStanding: "{name}: the upscaling server does not answer, the picture waits",
  saysFailed: "{name}: {title}",
  saysRemoved: "{name}: removed",
  stateWaiting: "waiting",
  stateActive: "in progress",
  stateDone: "ready",
  stateFailed: "failed",
  stateCancelled: "cancelled",
  stateLocked: "needs an API key",

  error400: "The server does not understand these options",
  advice400: "Change the options and try again.",
  error404: "The server no longer has this picture",
  advice404: "Send it again.",
  error413: "This file is too large",
  advice413: "Send it smaller, or in parts.",
  advice413Bytes: "It has {got}; this server takes {limit} at most.",
  advice413Limit: "This server takes {limit} at most.",
  advice413Pixels: "It has {got} megapixels; this server takes {limit} at most.",
  advice413PixelLimit: "This server takes {limit} megapixels at most.",
  advice413Frames: "This server takes {limit} frames at most.",
  error415: "This is not a picture that can be read",
  advice415: "The file may be damaged, or of a kind the server does not know. JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF and HEIC work.",
  error422: "This picture cannot be made with these options",
  advice422: "Change the options and try again.",
  error429: "The server is full",
  advice429: "Try again in a moment.",
  error500: "The server made a mistake",
  advice500: "Your picture is not at fault. Try again; if it happens again, tell whoever runs this server.",
  error501: "This server cannot do that",
  advice501: "It lacks a part that this kind of file needs. Convert it to JPEG or PNG, or choose another format.",
  error503: "The upscaling server does not answer",
  advice503: "It may be starting. Try again in a moment.",
  error504: "It took too long",
  advice504: "Try again, or send it smaller.",
  error507: "The server has no room left",
  advice507: "Try again later, or remove pictures you no longer need.",
  errorNetwork: "The connection was lost",
  adviceNetwork: "Check your network, then try again.",
  errorLost: "The server was restarted in the middle of this picture",
  adviceLost: "Send it again.",
  errorOther: "That did not work",
  adviceOther: "Try again.",
  errorUnreadable: "The file cannot be read",
  adviceUnreadable: "It may have been moved or changed since you chose it. Choose it again.",
  errorZip: "The ZIP file could not be made",
};

const zh = {
  title: "EDSR ×3：图片放大",
  language: "语言",
  lead: "图片放大三倍，细节依然清晰。",
  stage: "图片",
  dropHere: "把图片拖到这里",
  choose: "选择图片",
  orPaste: "也可以按 Ctrl+V 粘贴",
  trySample: "用示例图试试",
  sampleSize: "180 × 142 像素",
  dropNow: "松手即可开始",
  nothingDropped: "里面没有文件。请拖入图片，或点击选择。",
  notReady: "放大服务还没准备好，图片会排队等待。",

  progress: "进度",
  cancel: "取消",
  hurry: "立即重试",
  waiting: "排队中，等前面的图片完成",
  uploading: "正在上传",
  queued: "正在等待服务器空位",
  standing: "放大服务没有响应，恢复后会自动继续",
  working: "正在放大",
  receiving: "正在取回结果",
  held: "服务器繁忙，{seconds} 秒后自动重试",
  lost: "连接中断，正在重连",
  tiles: "第 {done} 块，共 {total} 块",
  frames: "第 {done} 帧，共 {total} 帧",
  framesOnly: "第 {done} 帧",
  bytesOf: "{done} / {total}",

  retry: "重试",
  remove: "移除",
  removeNamed: "移除 {name}",
  cancelledTitle: "已取消",
  cancelledAdvice: "服务器上没有留下这张图片。",

  keyTitle: "需要 API 密钥",
  keyAdvice: "请向管理员索取。密钥只保存在当前标签页，关闭后即清除。",
  keyLabel: "API 密钥",
  keyUse: "确定",
  keyWrong: "密钥无效，请检查后再试。",

  viewport: "对比区。加减号缩放，0 显示全图，1 逐像素显示，方向键移动图片。",
  slider: "左右对比的分界线",
  sliderValue: "{before}占 {share}%",
  compareWith: "与 EDSR 对比",
  bicubic: "双三次插值",
  smoothed: "浏览器平滑",
  computing: "正在计算双三次插值",
  edsr: "EDSR",
  edsrOnly: "只看 EDSR",
  pixels: "原始像素",
  zoom: "缩放",
  zoomIn: "放大视图",
  zoomOut: "缩小视图",
  zoomOne: "1:1 逐像素显示",
  zoomFit: "适合窗口",
  download: "下载",
  downloadAll: "打包下载（ZIP）",
  packing: "正在打包 {percent}%",
  strip: "图片列表",
  add: "添加图片",

  factSizes: "{lrWidth} × {lrHeight} → {width} × {height}",
  factTime: "用时 {seconds} 秒",
  tooLargeForBicubic: "图片太大，浏览器里算不动双三次插值，改用浏览器自带的平滑作对比。",
  movingForBicubic: "这是动图，改用浏览器自带的平滑作对比。",
  originalGone: "浏览器里已没有原图，无法对比。",
  originalUnseen: "浏览器无法显示 {kind} 文件，无法对比。",
  madeAsPng: "浏览器无法显示 {kind} 文件，结果已存为 PNG；可在选项中更改。",
  unseenTitle: "结果已就绪",
  unseenKind: "浏览器无法显示 {kind} 文件，请下载后查看。",
  unseenLarge: "图片太大，这里无法显示，请下载后查看。",
  bicubicHow: "双三次插值：Keys 核，a = −0.5（与 Pillow、MATLAB 一致），由浏览器计算",

  options: "选项",
  format: "格式",
  automatic: "自动",
  formatAutomatic: "与原图相同",
  quality: "质量（0–100）",
  size: "尺寸",
  sizeNetwork: "×{scale}",
  sizeFour: "×4（先 ×{scale} 再插值）",
  sizeSide: "指定长边…",
  side: "长边像素",
  metadata: "元数据",
  metadataKeep: "保留",
  metadataStrip: "清除（位置、相机、时间）",
  model: "模型",
  modelAutomatic: "自动",
  optionsHint: "对之后添加的图片生效。",
  again: "用这些选项重做当前图片",
  sideSummary: "长边 {side} px",
  stripSummary: "清除元数据",
  qualitySummary: "质量 {quality}",

  keeping: "图片只上传到这台服务器，最多保留 {time}；在此移除后立即删除。",
  hours: "{count} 小时",
  minutes: "{count} 分钟",
  api: "API",

  saysUploading: "{name}：正在上传",
  saysWorking: "{name}：正在放大",
  saysDone: "{name}：已完成，{width} × {height} 像素",
  saysCancelled: "{name}：已取消",
  saysHeld: "{name}：服务器繁忙，{seconds} 秒后重试",
  saysStanding: "{name}：放大服务没有响应，正在等待",
  saysFailed: "{name}：{title}",
  saysRemoved: "{name}：已移除",
  stateWaiting: "等待中",
  stateActive: "处理中",
  stateDone: "已完成",
  stateFailed: "失败",
  stateCancelled: "已取消",
  stateLocked: "需要 API 密钥",

  error400: "服务器无法识别这些选项",
  advice400: "请修改选项后重试。",
  error404: "服务器上已没有这张图片",
  advice404: "请重新上传。",
  error413: "文件太大",
  advice413: "请缩小或分割后再上传。",
  advice413Bytes: "文件有 {got}，服务器最多接受 {limit}。",
  advice413Limit: "服务器最多接受 {limit}。",
  advice413Pixels: "图片有 {got} 百万像素，服务器最多接受 {limit} 百万像素。",
  advice413PixelLimit: "服务器最多接受 {limit} 百万像素。",
  advice413Frames: "服务器最多接受 {limit} 帧。",
  error415: "无法识别的图片",
  advice415: "文件可能已损坏，或格式不受支持。支持 JPEG、PNG、WebP、TIFF、GIF、BMP、AVIF 和 HEIC。",
  error422: "这些选项不适用于这张图片",
  advice422: "请修改选项后重试。",
  error429: "服务器已满",
  advice429: "请稍后重试。",
  error500: "服务器出错了",
  advice500: "不是图片的问题。请重试；若仍出错，请联系管理员。",
  error501: "服务器不支持此操作",
  advice501: "缺少处理这类文件的组件。请先转成 JPEG 或 PNG，或换一种输出格式。",
  error503: "放大服务没有响应",
  advice503: "可能正在启动，请稍后重试。",
  error504: "处理超时",
  advice504: "请重试，或缩小图片后再上传。",
  error507: "服务器空间不足",
  advice507: "请稍后重试，或移除不再需要的图片。",
  errorNetwork: "网络连接中断",
  adviceNetwork: "请检查网络后重试。",
  errorLost: "处理过程中服务器重启了",
  adviceLost: "请重新上传。",
  errorOther: "处理失败",
  adviceOther: "请重试。",
  errorUnreadable: "无法读取文件",
  adviceUnreadable: "文件可能已被移动或修改，请重新选择。",
  errorZip: "打包失败",
};

export const languages = { en, zh };
const REMEMBERED = "edsr-language";
let current = "en";

// The first of the browser's languages that we have; what was chosen here goes before.
function preferred() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(REMEMBERED);
  } catch {
    // Storage can be forbidden.
  }
  const wanted = [chosen, ...(navigator.languages || [])].filter(Boolean);
  return wanted.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag in languages) || "en";
}

export const language = () => current;
export const locale = () => (current === "zh" ? "zh-CN" : "en");

export function t(key, values = {}) {
  return languages[current][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const has = (key) => key in en;

// Puts the words of the language into the document: text, aria-label, placeholder.
export function speak(chosen) {
  current = chosen in languages ? chosen : preferred();
  if (chosen) {
    try {
      localStorage.setItem(REMEMBERED, current);
    } catch {
      // It is then asked of the browser again next time.
    }
  }
  document.documentElement.lang = locale();
  document.title = t("title");
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = t(one.dataset.text);
  for (const one of document.querySelectorAll("[data-label]")) one.setAttribute("aria-label", t(one.dataset.label));
  for (const one of document.querySelectorAll("[data-placeholder]")) one.placeholder = t(one.dataset.placeholder);
  for (const one of document.querySelectorAll("[data-language]")) {
    one.setAttribute("aria-pressed", String(one.dataset.language === current));
  }
}
