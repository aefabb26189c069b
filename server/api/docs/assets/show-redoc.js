Redoc.init("openapi.json", { expandResponses: "200", hideDownloadButton: false }, document.getElementById("document"));
