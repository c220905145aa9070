/** What a page loads: an entry bundled for browsers in chunks, as bundlers do, and which files each import of it brings along. */
import path from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

export interface Part {
  /** The source files in it. */
  readonly files: readonly string[]
  /** Bytes of its chunks, minified, each gzipped. */
  readonly gzip: number
}

export interface Bundle {
  /** What importing the entry loads. */
  readonly start: Part
  /** What is loaded on demand besides, by the source file that an `import()` names. */
  readonly later: ReadonlyMap<string, Part>
}

/** Bundles `entry`, a source file under `root`. */
export async function bundle(root: string, entry: string): Promise<Bundle> {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root, entryPoints: [entry], outdir: 'out', bundle: true, splitting: true, minify: true, write: false, metafile: true,
    format: 'esm', platform: 'browser', external: ['fast-check'], logLevel: 'silent',
  })
  const gzips = new Map(outputFiles.map(({ path: file, contents }) => [path.relative(root, file), gzipSync(contents).length]))
  const { outputs } = metafile
  const reached = (chunk: string, known: ReadonlySet<string> = new Set()): Set<string> => {
    const found = new Set<string>()
    const visit = (at: string): void => {
      if (known.has(at) || found.has(at) || outputs[at] === undefined) return
      found.add(at)
      for (const { path: next, kind } of outputs[at].imports) if (kind === 'import-statement') visit(next)
    }
    visit(chunk)
    return found
  }
  const partOf = (chunks: ReadonlySet<string>): Part => ({
    files: [...chunks].flatMap((chunk) => Object.keys(outputs[chunk]?.inputs ?? {})),
    gzip: [...chunks].reduce((sum, chunk) => sum + (gzips.get(chunk) ?? 0), 0),
  })
  const chunkOf = (source: string): string => Object.keys(outputs).find((chunk) => outputs[chunk]?.entryPoint === source) ?? ''
  const first = reached(chunkOf(entry))
  const dynamic = Object.values(outputs).map(({ entryPoint }) => entryPoint).filter((source) => source !== undefined && source !== entry)
  return { start: partOf(first), later: new Map(dynamic.map((source) => [source ?? '', partOf(reached(chunkOf(source ?? ''), first))])) }
}
