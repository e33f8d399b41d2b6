// Files that are dropped anywhere on the page.

// `onFiles(files)` gets a list of files.
export function listenForDrops(onFiles) {
  const { classList } = document.body;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dragging");
  });
  addEventListener("dragleave", (event) => event.relatedTarget === null && classList.remove("dragging"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dragging");
    onFiles([...event.dataTransfer.files]);
  });
}
