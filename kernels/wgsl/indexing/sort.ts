/**
 * Stable sorting of lines by 32-bit keys. Workgroups sort runs of up to 1024 pairs (key, place) in their memory by Batcher's
 * bitonic network ("Sorting networks and their applications", AFIPS 1968), several short lines at once; places decide between
 * equal keys. Then neighbouring runs are merged, in passes over temporaries: an element's place in the merged run is its place in
 * its own run plus how many of the other run come before it, which a binary search finds.
 */
import type { ArgsortDescriptor, Strided } from '../../ir/descriptor.ts'
import { product } from '../../ir/domain.ts'
import type { Dispatch, WgslKernel } from '../core/kernel.ts'
import { type Lines, packedLines } from '../core/lines.ts'
import { Shader } from '../core/shader.ts'
import { walk } from '../core/walk.ts'

const size = 256
const tile = 1024

export interface SortDescriptor {
  readonly shape: readonly number[]
  readonly length: number
  readonly from: Lines
  /** Body of a function from `bits: u32` to a u32 in the order of the elements. */
  readonly keyOf: string
  readonly descending?: boolean
  /** Takes the places (i32) of the elements in sorted order. */
  readonly to: Lines
  /** A buffer for the sorted keys, packed. */
  readonly keys?: number
  /** The number of the first temporary. */
  readonly temporary: number
}

/** Where a pass writes. */
type Target = Pick<SortDescriptor, 'to' | 'keys'>

/** The dispatches, and the bytes of the temporaries they need. */
export function sortLines(d: SortDescriptor): { readonly dispatches: Dispatch[]; readonly temporaries: number[] } {
  const elements = product(d.shape) * d.length
  if (elements === 0) return { dispatches: [], temporaries: [] }
  const passes = Math.ceil(Math.log2(Math.max(1, d.length / tile)))
  const scratch = (pass: number): Target & { readonly keys: number } => {
    const first = d.temporary + 2 * (pass % 2)
    return { to: packedLines(d.shape, d.length, first), keys: first + 1 }
  }
  const target = (pass: number): Target => (pass === passes ? d : scratch(pass))
  const merges = Array.from({ length: passes }, (_, i) => {
    const { to, keys } = scratch(i)
    return mergeRuns(d, tile * 2 ** i, to.buffer, keys, target(i + 1))
  })
  return { dispatches: [sortRuns(d, target(0)), ...merges], temporaries: Array.from({ length: 2 * Math.min(passes, 2) }, () => 4 * elements) }
}

const bindTarget = (shader: Shader, { to, keys }: Target): Shader => {
  shader.storage('places', to.buffer, 'read_write', 'i32')
  return keys === undefined ? shader : shader.storage('sortedKeys', keys, 'read_write', 'u32')
}

function sortRuns({ shape, length, from, keyOf, descending = false }: SortDescriptor, target: Target): Dispatch {
  const shader = bindTarget(new Shader('sort runs').storage('x', from.buffer, 'read', 'u32'), target)
  const lines = product(shape)
  const log = Math.min(Math.ceil(Math.log2(length)), Math.log2(tile))
  const runs = Math.ceil(length / 2 ** log)
  const n = {
    lines: shader.parameter('lines', lines), length: shader.parameter('length', length), log: shader.parameter('log', log), runs: shader.parameter('runs', runs),
    fromStep: shader.parameter('fromStep', from.step, 'i32'), toStep: shader.parameter('toStep', target.to.step, 'i32'), complement: shader.parameter('complement', descending ? 0xffffffff : 0),
  }
  const locate = walk(shader, shape, { fromAt: from, toAt: target.to })
  /** Goes over the slots of the workgroup's tile; runs have a power of two of them each. */
  const slots = (before: string, inside: string, after: string): string => `
  for (var slot = local; slot < ${tile}u; slot += ${size}u) {
    let run = workgroup * (${tile}u >> ${n.log}) + (slot >> ${n.log});
    let line = run / ${n.runs};
    let place = ((run % ${n.runs}) << ${n.log}) + (slot & ((1u << ${n.log}) - 1u));${before}
    if (line < ${n.lines} && place < ${n.length}) {
${locate('line')}
      ${inside}
    }${after}
  }`
  const code = `
var<workgroup> tileKeys: array<u32, ${tile}>;
var<workgroup> tilePlaces: array<u32, ${tile}>;
fn keyOf(bits: u32) -> u32 {${keyOf}
}`
  // What fills up a run comes after everything: its places are the greatest.
  const body = `${slots(`
    var key = 0xffffffffu;`, `key = keyOf(x[fromAt + i32(place) * ${n.fromStep}]) ^ ${n.complement};`, `
    tileKeys[slot] = key;
    tilePlaces[slot] = place;`)}
  let whole = 1u << ${n.log};
  for (var span = 2u; span <= whole; span <<= 1u) {
    for (var gap = span >> 1u; gap > 0u; gap >>= 1u) {
      workgroupBarrier();
      for (var pair = local; pair < ${tile / 2}u; pair += ${size}u) {
        let low = 2u * pair - (pair & (gap - 1u));
        let high = low + gap;
        let ascending = span == whole || (low & span) == 0u;
        let lowKey = tileKeys[low];
        let highKey = tileKeys[high];
        let lowPlace = tilePlaces[low];
        let highPlace = tilePlaces[high];
        if ((lowKey > highKey || (lowKey == highKey && lowPlace > highPlace)) == ascending) {
          tileKeys[low] = highKey;
          tileKeys[high] = lowKey;
          tilePlaces[low] = highPlace;
          tilePlaces[high] = lowPlace;
        }
      }
    }
  }
  workgroupBarrier();
${slots('', `places[toAt + i32(place) * ${n.toStep}] = i32(tilePlaces[slot]);${target.keys === undefined ? '' : `
      sortedKeys[line * ${n.length} + place] = tileKeys[slot];`}`, '')}`
  return shader.dispatch({ code, body, size, groups: Math.ceil((lines * runs) / (tile >> log)) })
}

/** Merges runs of `width`, a power of two, in pairs. */
function mergeRuns({ shape, length }: SortDescriptor, width: number, order: number, keys: number, target: Target): Dispatch {
  const shader = bindTarget(new Shader('merge runs').storage('order', order, 'read', 'i32').storage('keys', keys, 'read', 'u32'), target)
  const elements = product(shape) * length
  const n = {
    count: shader.parameter('count', elements), length: shader.parameter('length', length), width: shader.parameter('width', width), toStep: shader.parameter('toStep', target.to.step, 'i32'),
  }
  const body = `
  if (id < ${n.count}) {
    let line = id / ${n.length};
    let place = id % ${n.length};
    let key = keys[id];
    let left = (place & ${n.width}) == 0u;
    let first = place & ~(2u * ${n.width} - 1u);
    let other = line * ${n.length} + select(first, min(first + ${n.width}, ${n.length}), left);
    var low = other;
    var high = line * ${n.length} + min(select(first + ${n.width}, first + 2u * ${n.width}, left), ${n.length});
    // Of equal keys, those of the left run come first.
    while (low < high) {
      let middle = (low + high) / 2u;
      if (keys[middle] < key || (!left && keys[middle] == key)) { low = middle + 1u; } else { high = middle; }
    }
    let rank = first + (place & (${n.width} - 1u)) + (low - other);
${walk(shader, shape, { toAt: target.to })('line')}
    places[toAt + i32(rank) * ${n.toStep}] = order[id];${target.keys === undefined ? '' : `
    sortedKeys[line * ${n.length} + rank] = key;`}
  }`
  return shader.dispatch({ body, size, groups: Math.ceil(elements / size) })
}

/** NaN is greater than everything, −0 equals 0, as PyTorch has it. */
const ordered = {
  f32: `
  let negative = bits > 0x80000000u;
  return select(select(bits | 0x80000000u, ~bits, negative), 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u);`,
  i32: `
  return bits ^ 0x80000000u;`,
  u32: `
  return bits;`,
} as const

/** Input x; output y, i32: the places that would sort each row, equal elements in their order. */
export function argsortKernel({ rows, length, dtype, descending, x, y }: ArgsortDescriptor): WgslKernel {
  const lines = ({ strides: [row = 0, element = 0], offset }: Strided, buffer: number): Lines => ({ buffer, strides: [row], offset, step: element })
  return {
    ...sortLines({ shape: [rows], length, from: lines(x, 0), keyOf: ordered[dtype], descending, to: lines(y, 1), temporary: 2 }),
    flops: rows * length * Math.ceil(Math.log2(Math.max(2, length))),
    bytes: 8 * rows * length,
  }
}
