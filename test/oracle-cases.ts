/** Reads the oracles of `oracles/ops`: rebuilds their inputs bit for bit and says what differs from them. Format: the README there. */
import type { TypedArray } from '../engine/dtype.ts'
import { sizeOf } from '../engine/shape.ts'
import { readJson } from './read.ts'

export interface OracleInput {
  readonly shape: readonly number[]
  readonly stream: number
  readonly lo?: number
  readonly hi?: number
  readonly kind?: 'int' | 'bool'
  readonly mod?: number
  readonly p?: number
  readonly permute?: readonly number[]
}

/** What PyTorch in float64 got, with the float32 evaluation's largest error. */
export interface OracleValue {
  readonly shape: readonly number[]
  readonly sum64: number
  readonly abs64: number
  readonly err32: number
  readonly maxabs: number
  readonly first8: readonly number[]
  readonly last8: readonly number[]
  /** Integer results are listed whole. */
  readonly values?: readonly number[]
}

export interface OracleParams {
  readonly alpha?: number
  readonly align_corners?: boolean
  readonly axis?: number | readonly number[]
  readonly causal?: boolean
  readonly ceil_mode?: boolean
  readonly correction?: number
  readonly count_include_pad?: boolean
  readonly descending?: boolean
  readonly dilation?: number | readonly number[]
  readonly eps?: number
  readonly equation?: string
  readonly factor?: number
  readonly groups?: number
  readonly k?: number
  readonly keepdim?: boolean
  readonly kernel?: number
  readonly label_smoothing?: number
  readonly largest?: boolean
  readonly log_target?: boolean
  readonly mode?: string
  readonly n_dims?: number
  readonly ord?: number | 'inf'
  readonly output_padding?: readonly number[]
  readonly pad?: readonly number[]
  readonly pad_lrtb?: readonly [number, number, number, number]
  readonly padding?: number | readonly number[]
  readonly reduction?: 'mean' | 'sum' | 'none' | 'batchmean'
  readonly scale?: number | null
  readonly scale_factor?: number
  readonly shift?: number
  readonly silu?: boolean
  readonly size?: number | readonly number[]
  readonly stride?: number | readonly number[]
}

export interface OracleCase {
  readonly id: string
  readonly op: string
  readonly params: OracleParams
  readonly inputs: Readonly<Record<string, OracleInput>>
  readonly dy_stream: number
  readonly out: OracleValue
  readonly grads: Readonly<Record<string, OracleValue>>
  readonly indices?: { readonly shape: readonly number[]; readonly values: readonly number[] }
}

export async function readOracles(name: string): Promise<readonly OracleCase[]> {
  return ((await readJson(`test/oracles/ops/${name}.json`)) as { cases: OracleCase[] }).cases
}

function mix(n: number): number {
  let x = n >>> 0
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d)
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b)
  return (x ^ (x >>> 16)) >>> 0
}

const hash = (stream: number, i: number): number => mix(mix(stream) + Math.imul(i, 0x9e3779b9))
export const uniform = (stream: number, i: number): number => (hash(stream, i) + 0.5) / 2 ** 32

/** The values of an input, before its permutation. */
export function inputValues({ shape, stream, lo = -1, hi = 1, kind, mod = 1, p = 0.5 }: OracleInput): TypedArray {
  const n = sizeOf(shape)
  if (kind === 'int') return Int32Array.from({ length: n }, (_, i) => hash(stream, i) % mod)
  if (kind === 'bool') return Uint8Array.from({ length: n }, (_, i) => Number(uniform(stream, i) < p))
  return Float32Array.from({ length: n }, (_, i) => lo + (hi - lo) * uniform(stream, i))
}

export interface Tolerance {
  /** Of each element, as a function of what is known of the oracle. */
  readonly element: (value: OracleValue) => number
  /** Of sums, relative to the sum of absolute values. */
  readonly sum: number
}
/** What a float64 implementation keeps to, and a float32 one. Elements are listed with ten digits. */
export const float64: Tolerance = { element: ({ maxabs }) => 1e-9 * maxabs + 1e-12, sum: 1e-9 }
export const float32: Tolerance = { element: ({ err32, maxabs }) => Math.max(4 * err32, 2e-6 * maxabs), sum: 2e-5 }

/** How `got` differs from the oracle, a line each; empty if it does not. */
export function differences(name: string, got: ArrayLike<number>, oracle: OracleValue, { element, sum }: Tolerance): string[] {
  const n = sizeOf(oracle.shape)
  if (got.length !== n) return [`${name}: ${got.length} elements, not ${n}`]
  const values = Array.from(got)
  const from = Math.max(0, n - oracle.last8.length)
  const listed = [...oracle.first8.map((v, i) => [i, v] as const), ...oracle.last8.map((v, i) => [from + i, v] as const)]
  const allowed = element(oracle)
  const wrong = listed.filter(([i, v]) => !(Math.abs((values[i] ?? NaN) - v) <= allowed))
  const total = values.reduce((a, b) => a + b, 0)
  const absolute = values.reduce((a, b) => a + Math.abs(b), 0)
  const slack = sum * oracle.abs64 + 1e-12
  return [
    ...wrong.map(([i, v]) => `${name}[${i}]: ${values[i]}, not ${v} ± ${allowed}`),
    ...(Math.abs(total - oracle.sum64) <= slack ? [] : [`sum of ${name}: ${total}, not ${oracle.sum64} ± ${slack}`]),
    ...(Math.abs(absolute - oracle.abs64) <= slack ? [] : [`sum of |${name}|: ${absolute}, not ${oracle.abs64} ± ${slack}`]),
  ]
}
