/** index.html of a run: one file with the loss curve, the pictures, the configuration and the time it took. */
import { at } from '../engine/shape.ts'
import { formatTime } from './progress.ts'

export interface Report {
  readonly name: string
  readonly step: number
  readonly steps: number
  readonly seconds: number
  readonly device: string
  /** One per step. */
  readonly losses: readonly number[]
  /** What to show as rows of a table: name and value. */
  readonly settings: readonly (readonly [string, string])[]
  readonly pictures: readonly { readonly title: string; readonly png: Uint8Array }[]
}

const escapes: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escape = (text: string): string => text.replaceAll(/[&<>"]/g, (c) => escapes[c] ?? c)

/** The mean loss over windows of equal length, at most `count` of them, each with the step at its middle. */
export function smooth(losses: readonly number[], count: number): { step: number; loss: number }[] {
  const size = Math.max(1, Math.ceil(losses.length / count))
  return Array.from({ length: Math.ceil(losses.length / size) }, (_, i) => {
    const window = losses.slice(i * size, (i + 1) * size)
    return { step: i * size + (window.length + 1) / 2, loss: window.reduce((sum, x) => sum + x, 0) / window.length }
  })
}

const frame = { width: 720, height: 280, left: 56, right: 12, top: 12, bottom: 32 }

/** 1, 2 or 5 times a power of ten, within the range. */
function ticksBetween(low: number, high: number): number[] {
  const ticks: number[] = []
  for (let decade = Math.floor(Math.log10(low)); decade <= Math.ceil(Math.log10(high)); decade++) {
    for (const lead of [1, 2, 5]) {
      const tick = lead * 10 ** decade
      if (tick >= low && tick <= high) ticks.push(tick)
    }
  }
  return ticks
}

/** The loss over the steps as SVG, logarithmic in the loss: every step in grey, the mean over windows in front. */
export function lossCurve(losses: readonly number[]): string {
  const positive = losses.filter((x) => x > 0)
  if (positive.length < 2) return '<p>Too few steps for a curve.</p>'
  const [low, high] = [positive.reduce((x, y) => Math.min(x, y)), positive.reduce((x, y) => Math.max(x, y))]
  const span = Math.max(1e-9, Math.log(high) - Math.log(low))
  const { width, height, left, right, top, bottom } = frame
  const x = (step: number): number => left + ((step - 1) / Math.max(1, losses.length - 1)) * (width - left - right)
  const y = (loss: number): number => top + ((Math.log(high) - Math.log(Math.max(loss, low))) / span) * (height - top - bottom)
  const line = (points: readonly { step: number; loss: number }[]): string => points.map((p) => `${x(p.step).toFixed(1)},${y(p.loss).toFixed(1)}`).join(' ')
  const marks = ticksBetween(low, high).map((tick) => `<line x1="${left}" x2="${width - right}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" class="grid"/><text x="${left - 8}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${String(Number(tick.toPrecision(1)))}</text>`)
  const ends = [1, losses.length].map((step, i) => `<text x="${x(step).toFixed(1)}" y="${height - 10}" text-anchor="${i === 0 ? 'start' : 'end'}">step ${step}</text>`)
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Loss over the steps">${marks.join('')}${ends.join('')}<polyline class="each" points="${line(smooth(losses, 720))}"/><polyline class="mean" points="${line(smooth(losses, 60))}"/></svg>`
}

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
svg { width: 100%; height: auto; font-size: 12px; }
svg text { fill: currentColor; opacity: .7; } .grid { stroke: currentColor; opacity: .15; }
polyline { fill: none; stroke-linejoin: round; } .each { stroke: currentColor; opacity: .25; } .mean { stroke: #d0602a; stroke-width: 2; }
img { max-width: 100%; image-rendering: pixelated; } table { border-collapse: collapse; font-size: .9rem; }
td { padding: .15rem 1rem .15rem 0; vertical-align: top; } td:first-child { opacity: .7; white-space: nowrap; }
`

/** The page, whole. */
export function renderReport({ name, step, steps, seconds, device, losses, settings, pictures }: Report): string {
  const last = losses.length === 0 ? undefined : at(smooth(losses.slice(-100), 1), 0).loss
  const summary = [`${step} of ${steps} steps`, `${formatTime(seconds)} of training`, ...(last === undefined ? [] : [`loss ${last.toFixed(4)} (mean of the last ${Math.min(100, losses.length)} steps)`])]
  const images = pictures.map(({ title, png }) => `<h2>${escape(title)}</h2>\n<img alt="${escape(title)}" src="data:image/png;base64,${Buffer.from(png).toString('base64')}">`)
  const rows = [['device', device] as const, ...settings].map(([key, value]) => `<tr><td>${escape(key)}</td><td>${escape(value)}</td></tr>`)
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escape(name)}: langevin</title>
<style>${style}</style>
<h1>${escape(name)}</h1>
<p>${escape(summary.join(', '))}</p>
${images.join('\n')}
<h2>Loss</h2>
${lossCurve(losses)}
<h2>Settings</h2>
<table>
${rows.join('\n')}
</table>
</html>
`
}
