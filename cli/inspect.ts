/** What is in a checkpoint, whoever wrote it: `langevin inspect`, which with `--verify` also holds its tensors to their digests. */
import { CheckpointError } from '../engine/index.ts'
import { openCheckpoint } from '../nn/checkpoint/open.ts'
import type { Checkpoint } from '../nn/checkpoint/read.ts'
import type { Output } from './progress.ts'

export interface InspectArguments {
  /** A safetensors file, the index of a sharded one, or the folder of either. */
  readonly file: string
  readonly verify: boolean
}

/** Prints names, dtypes, shapes, bytes and metadata; returns the exit code. Throws CheckpointError for what is damaged. */
export async function inspect({ file, verify }: InspectArguments, output: Output): Promise<number> {
  const checkpoint = await openCheckpoint(file, { verify })
  const rows = [...checkpoint.tensors].map(([name, { format, shape, range: [from, to] }]) => [shown(name), format, `[${shape.join()}]`, String(to - from)])
  const bytes = [...checkpoint.tensors.values()].reduce((sum, { range: [from, to] }) => sum + to - from, 0)
  table([['name', 'dtype', 'shape', 'bytes'], ...rows], output)
  output.write(`${checkpoint.tensors.size} tensors, ${bytes} bytes\n`)
  const metadata = Object.entries(checkpoint.metadata)
  if (metadata.length > 0) output.write('metadata\n')
  table(metadata.map(([key, value]) => [`  ${shown(key)}`, shown(value)]), output)
  if (verify) await verifyTensors(checkpoint, output)
  return 0
}

/** Every damaged tensor, not only the first. */
async function verifyTensors(checkpoint: Checkpoint, output: Output): Promise<void> {
  const { source, tensors } = checkpoint
  const digested = [...tensors].filter(([, { crc32 }]) => crc32 !== undefined).map(([name]) => name)
  const damaged: string[] = []
  for (const name of digested) {
    await checkpoint.read(name).catch((error: unknown) => {
      if (!(error instanceof CheckpointError)) throw error
      damaged.push(name)
      output.write(`${error.message}\n`)
    })
  }
  output.write(`${digested.length - damaged.length} tensors verified, ${tensors.size - digested.length} have no digest\n`)
  if (damaged.length > 0) throw new CheckpointError(`${source}: ${damaged.length} of ${tensors.size} tensors are damaged: ${damaged.map(shown).join(', ')}`)
}

/** A text of the file on one line, without what a terminal would obey. */
function shown(text: string): string {
  return /[\p{Cc}\p{Cf}\u2028\u2029]|^$/u.test(text) ? JSON.stringify(text).replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`) : text
}

function table(rows: readonly (readonly string[])[], output: Output): void {
  const widths = (rows[0] ?? []).map((_, i) => rows.reduce((most, row) => Math.max(most, row[i]?.length ?? 0), 0))
  for (const row of rows) output.write(`${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ').trimEnd()}\n`)
}
