/**
 * Digests of tensors, so that damage to a file is noticed: eight hexadecimal digits each, one after the other as the tensors lie,
 * in the metadata of a safetensors file. Before them stands one of all else that the header says, of which they are part.
 */
import type { Shape } from '../../engine/index.ts'
import { crc32 } from '#crc32'
import type { Header, TensorInfo } from './format.ts'

/** Where metadata has them. */
export const digestsKey = 'langevin.crc32'

type Metadata = Readonly<Record<string, string>>

interface Described {
  readonly name: string
  readonly shape: Shape
  readonly format: string
}

const hex = (crc: number): string => crc.toString(16).padStart(8, '0')

/** Of what a header says, in whatever order and spelling. The digests come as the tensors lie, so one that is said to lie elsewhere has another's. */
function headerDigest(tensors: readonly Described[], metadata: Metadata, crcs: string): string {
  const listed = tensors.map(({ name, format, shape }, i): [string, unknown] => [name, [format, shape, crcs.slice(8 * i, 8 * i + 8)]])
  const sorted = [listed, Object.entries(metadata)].map((entries) => entries.toSorted(([x], [y]) => (x < y ? -1 : 1)))
  return hex(crc32(new TextEncoder().encode(JSON.stringify([...sorted, crcs.length]))))
}

/** Metadata of tensors that lie in that order. */
export function withDigests(tensors: readonly Described[], metadata: Metadata, crcs: readonly number[]): Metadata {
  const text = crcs.map(hex).join('')
  return { ...metadata, [digestsKey]: headerDigest(tensors, metadata, text) + text }
}

/** A header with the digests out of its metadata and, if it is to be verified, with its tensors. */
export function withoutDigests({ tensors, metadata }: { readonly tensors: readonly [string, TensorInfo][]; readonly metadata: Metadata }, verify: boolean, fail: (why: string) => never): Header {
  const { [digestsKey]: text, ...own } = metadata
  const verified = text !== undefined && verify
  if (!verified) return { tensors: new Map(tensors), metadata: own, verified }
  const is = headerDigest(tensors.map(([name, info]) => ({ name, ...info })), own, text.slice(8))
  if (!/^([\da-f]{8})+$/.test(text) || text.length !== 8 * (tensors.length + 1) || text.slice(0, 8) !== is) {
    fail(`its header has the CRC-32 ${is} but was written with ${text.slice(0, 8)}; unless a program changed it and kept the metadata ${digestsKey}, restore it from a copy, or pass { verify: false } to read it as it is`)
  }
  return { tensors: new Map(tensors.map(([name, info], i) => [name, { ...info, crc32: Number.parseInt(text.slice(8 * i + 8, 8 * i + 16), 16) }])), metadata: own, verified }
}

/** The CRC-32 of a tensor's bytes, or of those that had `crc` and these, where there is one to hold it to. */
export function digest({ crc32: expected }: TensorInfo, bytes: Uint8Array, crc = 0): number | undefined {
  return expected === undefined ? undefined : crc32(bytes, crc)
}

/** What is wrong with a tensor whose bytes have that digest. */
export function damage({ crc32: expected }: TensorInfo, crc: number | undefined): string | undefined {
  if (expected === undefined || crc === undefined || crc === expected) return undefined
  return `its bytes have the CRC-32 ${hex(crc)} but were written with ${hex(expected)}; the file is damaged: restore it from a copy, or pass { verify: false } to read it as it is`
}
