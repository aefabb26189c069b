// A plugin of Swagger UI for the form of a clip. Swagger UI itself would show a file picker for each frame, all of them
// empty, and would fill optional fields with values such as width 1, so that the form as it is shown is refused.
"use strict";

const clipForm = (system) => {
  const { createElement, useEffect, Component } = system.React;

  const isClip = (schema) => schema.get("type") === "array" && schema.getIn(["items", "format"]) === "binary";
  const areFiles = (value) =>
    system.Im.List.isList(value) && value.size > 0 && value.every((file) => file instanceof File);

  const exampleFiles = (schema) =>
    (schema.get("x-example-images") ?? []).map((base64, index) => {
      const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
      return new File([bytes], `frame-${String(index + 1).padStart(2, "0")}.png`, { type: "image/png" });
    });

  // One picker for all frames; until files are chosen, those of the example are sent.
  const ClipPicker = ({ schema, value, onChange, disabled }) => {
    const send = (files) => onChange(system.Im.List(files));
    useEffect(() => {
      if (!areFiles(value)) send(exampleFiles(schema));
    });
    const count = schema.get("minItems");
    return createElement(
      "div",
      { className: "clip-picker" },
      createElement("input", {
        type: "file",
        multiple: true,
        accept: "image/jpeg,image/png,image/webp",
        disabled,
        onChange: (event) => send(event.target.files),
      }),
      createElement("p", null, `Choose ${count} images, or send the ${count} images of the example as they are.`),
    );
  };

  // Optional fields start empty, and what is empty is not sent.
  const emptyFirst = (Original) =>
    class extends Component {
      first = true;

      render() {
        const { schema, required, dispatchInitialValue } = this.props;
        const untouched = this.first && dispatchInitialValue && !required && !schema.has("default");
        this.first = false;
        return createElement(Original, untouched ? { ...this.props, value: "" } : this.props);
      }
    };

  return {
    wrapComponents: {
      JsonSchema_array: (Original) => (props) =>
        createElement(isClip(props.schema) ? ClipPicker : Original, props),
      JsonSchemaForm: emptyFirst,
      // The box "Send empty value", which is ticked at first. The service accepts no empty value.
      ParameterIncludeEmpty: () => () => null,
    },
  };
};
