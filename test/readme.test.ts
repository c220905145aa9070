/** Runs the code of README.md (each ```ts block) and of docs/ (each ```ts run block) as written. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { docsBlocks, readmeBlocks, root } from './blocks.ts'

/** The sources behind the package's name, so that no build is needed. */
function fromSource(code: string): string {
  return code.replaceAll(/from 'langevin(?:\/(\w+))?'/g, (_, entry: string | undefined) => {
    return `from '${pathToFileURL(path.join(root, entry ?? 'engine', 'index.ts')).href}'`
  })
}

/** What the block says it prints: the comment at the end of each `console.log` line. */
function promised(code: string): string[] {
  return [...code.matchAll(/^\s*console\.log\(.*\)\s*\/\/ (.*)$/gm)].map((match) => match[1] ?? '')
}

const readme = readmeBlocks()

test('README.md shows code', () => {
  expect(readme).not.toEqual([])
})

test.each([...readme, ...docsBlocks().filter(({ runs }) => runs)])('$name', ({ code }) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'langevin-readme-'))
  try {
    symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules')) // For the peers a block imports.
    writeFileSync(path.join(folder, 'block.ts'), fromSource(code))
    const output = execFileSync(process.execPath, ['block.ts'], { cwd: folder, encoding: 'utf8' })
    expect(output.split('\n')).toEqual(expect.arrayContaining(promised(code)))
  } finally {
    rmSync(folder, { recursive: true })
  }
}, 120_000)
