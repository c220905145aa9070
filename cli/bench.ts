/** `langevin bench cpu`: measures the CPU device on the subjects of bench/, and PyTorch beside it. */
import { availableParallelism, cpus } from 'node:os'
import process from 'node:process'
import { choose, run } from '../bench/run.ts'
import { subjects } from '../bench/subjects.ts'
import { markdown } from '../bench/table.ts'
import type { BenchArguments } from './arguments.ts'
import { expectWritable, writeFile } from './files.ts'
import type { Output } from './progress.ts'
import { Torch } from './torch.ts'

/** Measures, shows a table, and writes the files asked for; returns the exit code. */
export async function benchmark(options: BenchArguments, version: string, output: Output): Promise<number> {
  const { threads = availableParallelism(), seconds, level, experimental, json, markdown: page } = options
  const chosen = choose(subjects, options.only)
  for (const file of [json, page]) if (file !== undefined) expectWritable(file)
  await using torch = options.torch === undefined ? undefined : await Torch.start(options.torch, threads)
  const processor = cpus()[0]?.model.trim() ?? 'unknown processor'
  const date = new Date().toISOString().slice(0, 10)
  const report = await run({
    subjects: chosen, threads, level, experimental, seconds, peer: torch,
    facts: [
      ['date', date],
      ['processor', `${processor}, ${availableParallelism()} threads`],
      ['software', `langevin ${version}, Node ${process.versions.node}, V8 ${process.versions.v8}${torch === undefined ? '' : `, PyTorch ${torch.version}`}`],
    ],
    show: (text) => void output.write(`${text}\n`),
  })
  const command = `langevin ${process.argv.slice(2).join(' ')}`
  if (json !== undefined) await writeFile(json, `${JSON.stringify({ ...report, command }, null, 2)}\n`)
  if (page !== undefined) await writeFile(page, markdown(report, `CPU benchmark, ${date}, ${processor}`, command))
  return 0
}
