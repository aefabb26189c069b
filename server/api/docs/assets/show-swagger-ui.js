SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#document",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  plugins: [clipForm],
  // It would have swagger.io look at the document.
  validatorUrl: null,
});
