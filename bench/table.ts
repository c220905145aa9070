/** Results as lines for a terminal, and as a page in Markdown. */
import type { Measurement, Times } from './measure.ts'
import type { Report } from './run.ts'
import type { Peak } from './target.ts'

/** Three significant digits. */
function digits(x: number): string {
  return x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x >= 1 ? x.toFixed(2) : x.toFixed(3)
}

const spread = ({ p10, p90 }: Times): string => `${digits(p10)}–${digits(p90)}`

export function header(withPeer: boolean): readonly string[] {
  return ['subject', 'ms', 'p10–p90', 'rate', 'of peak', ...(withPeer ? ['PyTorch ms', 'p10–p90', 'ratio'] : [])]
}

/** A measurement as cells, held to the peak of what it was measured on. */
export function row({ name, flops, bytes, ours, peer }: Measurement, peak: Peak): readonly string[] {
  const seconds = ours.median / 1000
  // What the work takes at least: arithmetic or traffic, whichever takes longer.
  const [compute, traffic] = [flops / peak.flops, bytes / peak.bandwidth]
  const rate = compute >= traffic ? `${digits(flops / seconds / 1e9)} GFLOP/s` : `${digits(bytes / seconds / 1e9)} GB/s`
  const share = `${((100 * Math.max(compute, traffic)) / seconds).toFixed(0)} %`
  return [name, digits(ours.median), spread(ours), rate, share, ...(peer === undefined ? [] : [digits(peer.median), spread(peer), (ours.median / peer.median).toFixed(2)])]
}

/** Of the columns, with the first as wide as the longest name. */
export function widthsFor(names: readonly string[]): readonly number[] {
  return [Math.max(...names.map((name) => name.length)), 7, 13, 13, 7, 10, 13, 5]
}

/** Cells in columns: names to the left, numbers to the right. */
export function line(cells: readonly string[], widths: readonly number[]): string {
  return cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')
}

export function peakLine({ of, flops, bandwidth }: Peak): string {
  return `${of}: ${digits(flops / 1e9)} GFLOP/s, ${digits(bandwidth / 1e9)} GB/s`
}

/** The whole report as a page; `title` is its first line, `command` is what made it. */
export function markdown({ facts, peaks, measurements }: Report, title: string, command: string): string {
  const limit = peaks.at(-1)
  if (limit === undefined) throw new RangeError('one peak')
  const cells = (list: readonly string[]): string => `| ${list.join(' | ')} |`
  const head = header(measurements.some(({ peer }) => peer !== undefined))
  return [
    `# ${title}`,
    '',
    ...facts.map(([name, value]) => `- ${name}: ${value}`),
    ...peaks.map((peak) => `- peak, ${peakLine(peak)}`),
    `- made by \`${command}\``,
    '',
    'Times are medians of single calls in milliseconds, with the tenths of the calls that were fastest and slowest left out beside them; everything from recording the graph to the finished result is counted. The rate is that of the work the subject needs at least, and its share is of the arithmetic or the memory traffic that the machine gives, whichever limits it. A ratio below 1 means faster than PyTorch.',
    '',
    cells(head),
    cells(head.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...measurements.map((measurement) => cells(row(measurement, limit))),
    '',
  ].join('\n')
}
