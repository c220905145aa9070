/**
 * Cumulative sum along an axis, from its start or, reversed, from its end. A workgroup takes a run of up to 1024 elements of a
 * line: an invocation adds up four neighbours, sums of invocations are scanned in workgroup memory (Hillis and Steele, "Data
 * parallel algorithms", CACM 1986). Longer lines are scanned in three phases: the sums of all runs, their scan, and the runs again
 * with what precedes them. Short lines, and many that are neighbours in memory, have an invocation each.
 */
import type { ScanDescriptor } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { Dispatch, WgslKernel } from '../core/kernel.ts'
import { type Lines, packedLines } from '../core/lines.ts'
import { Shader } from '../core/shader.ts'
import { walk } from '../core/walk.ts'

const fewInvocations = 64
const mostInvocations = 256
const perInvocation = 4
/** Lines up to this length have an invocation each. */
const short = 64
/** So many lines keep a device busy with an invocation each. */
const manyLines = 16384

interface Scan {
  readonly shape: readonly number[]
  readonly length: number
  readonly from: Lines
  readonly to: Lines
  readonly type: 'f32' | 'u32'
  /** The number of the first temporary. */
  readonly temporary: number
}

interface Dispatches {
  readonly dispatches: readonly Dispatch[]
  /** Bytes of each. */
  readonly temporaries: readonly number[]
}

/** Input x; output y. */
export function scanKernel({ shape, x, y, reverse, dtype }: ScanDescriptor): WgslKernel {
  const length = shape.at(-1) ?? 1
  const lines = ({ strides, offset }: ScanDescriptor['x'], buffer: number): Lines => {
    const step = strides.at(-1) ?? 0
    return { buffer, strides: strides.slice(0, -1), offset: reverse ? offset + (length - 1) * step : offset, step: reverse ? -step : step }
  }
  const elements = product(shape)
  const scan: Scan = { shape: shape.slice(0, -1), length, from: lines(x, 0), to: lines(y, 1), type: dtype === 'f32' ? 'f32' : 'u32', temporary: 2 }
  return { ...(elements === 0 ? { dispatches: [] } : scanLines(scan)), flops: elements, bytes: 8 * elements }
}

function scanLines(scan: Scan): Dispatches {
  const { shape, length, from, temporary } = scan
  const lines = product(shape)
  if (length <= short || (lines >= manyLines && Math.abs(from.step) > 1)) return { dispatches: [scanAlone(scan)], temporaries: [] }
  const runs = Math.ceil(length / (mostInvocations * perInvocation))
  if (runs === 1) return { dispatches: [scanRuns(scan, {})], temporaries: [] }
  const [sums, before] = [packedLines(shape, runs, temporary), packedLines(shape, runs, temporary + 1)]
  const inner = scanLines({ ...scan, length: runs, from: sums, to: before, temporary: temporary + 2 })
  return {
    dispatches: [scanRuns(scan, { sums: sums.buffer }), ...inner.dispatches, scanRuns(scan, { before: before.buffer })],
    temporaries: [4 * lines * runs, 4 * lines * runs, ...inner.temporaries],
  }
}

/** Elements of a chain of additions, and chains of the next one: errors of floats grow with their length. */
const chain = 64

/** An invocation walks along a line; its sum is three chains, each of which goes on where the one inside it ends. */
function scanAlone({ shape, length, from, to, type }: Scan): Dispatch {
  const shader = new Shader('scan lines').storage('x', from.buffer, 'read', type).storage('y', to.buffer, 'read_write', type)
  const lines = product(shape)
  const n = { lines: shader.parameter('lines', lines), length: shader.parameter('length', length, 'i32'), fromStep: shader.parameter('fromStep', from.step, 'i32'), toStep: shader.parameter('toStep', to.step, 'i32') }
  const body = `
  if (id < ${n.lines}) {
${walk(shader, shape, { fromAt: from, toAt: to })('id')}
    var sum = ${type}();
    var chains = ${type}();
    var before = ${type}();
    for (var i = 0; i < ${n.length}; i++) {
      sum += x[fromAt + i * ${n.fromStep}];
      y[toAt + i * ${n.toStep}] = ${length <= chain ? 'sum' : 'before + (chains + sum)'};
      if (i % ${chain} == ${chain - 1}) { chains += sum; sum = ${type}(); }
      if (i % ${chain ** 2} == ${chain ** 2 - 1}) { before += chains; chains = ${type}(); }
    }
  }`
  return shader.dispatch({ body, size: short, groups: Math.ceil(lines / short) })
}

/** Writes the sum of every run into the buffer `sums`, or scans runs, each after the run before it, whose sum from the start is in `before`. */
function scanRuns({ shape, length, from, to, type }: Scan, { sums, before }: { readonly sums?: number; readonly before?: number }): Dispatch {
  const size = length <= fewInvocations * perInvocation ? fewInvocations : mostInvocations
  const run = size * perInvocation
  const [lines, runs] = [product(shape), Math.ceil(length / run)]
  const shader = new Shader(sums === undefined ? 'scan' : 'sums of runs').storage('x', from.buffer, 'read', type)
  if (before !== undefined) shader.storage('before', before, 'read', type)
  shader.storage('y', sums ?? to.buffer, 'read_write', type)
  const n = {
    groups: shader.parameter('groups', lines * runs), runs: shader.parameter('runs', runs), length: shader.parameter('length', length),
    fromStep: shader.parameter('fromStep', from.step, 'i32'), toStep: shader.parameter('toStep', to.step, 'i32'),
  }
  const each = (line: (i: number) => string): string => Array.from({ length: perInvocation }, (_, i) => line(i)).join('\n')
  const write = sums === undefined ? `
  var start = ${type}();
  if (local > 0u) { start = scanned[local - 1u]; }${before === undefined ? '' : `
  if (present && run > 0u) { start += before[workgroup - 1u]; }`}
${each((i) => `  if (present && first + ${i}u < ${n.length}) { y[toAt + i32(first + ${i}u) * ${n.toStep}] = start + sum${i}; }`)}` : `
  if (present && local == ${size - 1}u) { y[workgroup] = scanned[local]; }`
  const body = `
  let present = workgroup < ${n.groups};
  let line = workgroup / ${n.runs};
  let run = workgroup % ${n.runs};
  let first = run * ${run}u + local * ${perInvocation}u;
${walk(shader, shape, { fromAt: from, toAt: to })('line')}
${each((i) => `  var sum${i} = ${type}();
  if (present && first + ${i}u < ${n.length}) { sum${i} = x[fromAt + i32(first + ${i}u) * ${n.fromStep}]; }`)}
${each((i) => (i === 0 ? '' : `  sum${i} += sum${i - 1};`))}
  scanned[local] = sum${perInvocation - 1};
  for (var gap = 1u; gap < ${size}u; gap <<= 1u) {
    workgroupBarrier();
    var further = ${type}();
    if (local >= gap) { further = scanned[local - gap]; }
    workgroupBarrier();
    scanned[local] += further;
  }
  workgroupBarrier();
${write}`
  return shader.dispatch({ code: `var<workgroup> scanned: array<${type}, ${size}>;`, body, size, groups: lines * runs })
}
