// Short ways to find and make elements.

export const byId = (id) => document.getElementById(id);

// make("button", {type: "button", class: "quiet"}, "Clear") returns the element; a function is a listener.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// `more` and `less` are words or signs for shares near 1 and near 0.
export function percent(share, more = "> ", less = "< ") {
  if (share > 0.99 && share < 1) return `${more}99%`;
  return share > 0 && share < 0.01 ? `${less}1%` : `${Math.round(share * 100)}%`;
}

// A number with its sign, as wide for minus as for plus.
export const signed = (value, digits = 2) => (Number(value.toFixed(digits)) < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

export const plain = (value, digits = 2) => signed(value, digits).replace("+", "");

// A class's name where there is little room.
export const short = (name) => (name.length > 2 ? make("abbr", { title: name }, name.slice(0, 2)) : name);

export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
