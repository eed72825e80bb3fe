'use strict';

// Sorts the candidates by the column whose header is pressed; pressed again, the other way round.
const body = document.querySelector('.candidates tbody');
const headers = [...document.querySelectorAll('.candidates thead th')];
const rows = body ? [...body.rows] : [];
const letters = new Intl.Collator('en', { numeric: true });

// What a cell is sorted by: its number, its text, or nothing where nothing was measured.
function keyOf(row, column) {
  const cell = row.cells[column];
  const text = cell.textContent.trim();
  if ('value' in cell.dataset) {
    return cell.dataset.value === '' ? null : Number(cell.dataset.value);
  }
  return text === '' ? null : text;
}

// What was not measured comes last both ways.
function compare(a, b, way) {
  if (a === null || b === null) {
    return (a === null) - (b === null);
  }
  return way * (typeof a === 'number' && typeof b === 'number' ? a - b : letters.compare(a, b));
}

function sortBy(column) {
  const way = headers[column].getAttribute('aria-sort') === 'ascending' ? -1 : 1;
  headers.forEach((header, place) => {
    header.setAttribute('aria-sort', place !== column ? 'none' : way === 1 ? 'ascending' : 'descending');
  });
  // From the first order each time, which is that of rows that are equal.
  body.append(...[...rows].sort((a, b) => compare(keyOf(a, column), keyOf(b, column), way)));
}

headers.forEach((header, column) => {
  header.querySelector('button').addEventListener('click', () => sortBy(column));
});
