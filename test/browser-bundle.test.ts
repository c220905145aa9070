/** Bundles each entry of the library for browsers, from source, and looks for anything of Node in what it reaches. */
import path from 'node:path'
import { build } from 'esbuild'
import type { Metafile } from 'esbuild'
import { expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '..')

async function bundle(entry: string): Promise<{ readonly metafile: Metafile; readonly text: string }> {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    format: 'esm',
    platform: 'browser',
    // Left as imports, so that the test can see them.
    external: ['node:*', 'webgpu', 'fast-check'],
    logLevel: 'silent',
  })
  return { metafile, text: outputFiles.map(({ text }) => text).join('\n') }
}

test.each([
  ['engine/index.ts', []],
  ['nn/index.ts', []],
  ['diffusion/index.ts', []],
  ['kernels/index.ts', []],
  ['testing/index.ts', ['fast-check']],
  ['engine/device/cpu/worker.ts', []],
])('%s reaches nothing of Node', async (entry, externals) => {
  const { metafile, text } = await bundle(entry)
  const outside = Object.values(metafile.inputs).flatMap(({ imports }) => imports.filter((item) => item.external).map((item) => item.path))
  expect([...new Set(outside)]).toEqual(externals)
  expect(Object.keys(metafile.inputs).filter((file) => file.endsWith('.node.ts'))).toEqual([])
  expect(/\bprocess\.\w+|\bBuffer\.\w+|\b__dirname\b/.exec(text)).toBeNull()
})
